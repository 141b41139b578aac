"""Simulated robots as processes: started in an environment of their own, watched, always ended."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = {"strict": "franka-sim", "physics": "franky-sim"}
START_S = 180.0
PACE_HZ = 800.0
MOVING_RAD_S = 0.02
"""A joint that is faster moves; the TCP of an outstretched arm then does about 1 cm/s.

The last joint does not count: at rest, franka-sim's hunts at 0.08 rad/s, and it moves no TCP.
"""
WHEELS_BOOTSTRAP = ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")


ROBOT, CONTROLLER, BENCH = 30, 20, 0
"""Real-time priorities: the robot runs as if it were one, then its controller.

The rest of the bench only goes before ordinary processes: with more at real-time priority a machine
of two cores would have no time left for the tests.
"""
BENCH_NICENESS = -10


def first(priority, task=0):
    """Return what lets a child process go before others; where that is not allowed, it does not.

    `task`: the process or thread; 0: the one that calls.
    """

    def apply():
        with contextlib.suppress(PermissionError):
            if priority:
                os.sched_setscheduler(task, os.SCHED_FIFO, os.sched_param(priority))
            else:
                os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, task, BENCH_NICENESS)

    return apply


class Peer:
    """A simulated robot at a loopback address of its own."""

    def __init__(self, kind, folder):
        python = ROOT / ".cache" / "peers" / ENVIRONMENTS[kind] / "bin" / "python"
        if not python.is_file():
            pytest.skip(f"no simulated robot {ENVIRONMENTS[kind]}: make setup-tests")
        self.kind, number = kind, os.getpid()
        kinds = sorted(ENVIRONMENTS)
        self.address = f"127.{77 + kinds.index(kind)}.{number // 250 % 250}.{number % 250 + 1}"
        self._trace = Path(folder, f"{kind}.jsonl")
        self._log = Path(folder, f"{kind}.log")
        program = Path(__file__).with_name(f"fci_{kind}_peer.py")
        environment = {k: v for k, v in os.environ.items() if k not in WHEELS_BOOTSTRAP}
        environment["OMP_NUM_THREADS"] = "1"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [python, program, self.address, self._trace],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                # franky-sim forgives a late client and a late self: it need not push others aside
                preexec_fn=first(ROBOT if kind == "strict" else BENCH),
            )
        deadline = time.monotonic() + START_S
        while not self.trace():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def trace(self, since_s=0.0):
        """What the peer wrote of its arm from `since_s` (time.monotonic) on, oldest first."""
        if not self._trace.is_file():
            return []
        lines = self._trace.read_text().split("\n")[:-1]
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if row["s"] >= since_s]

    def newest(self):
        with self._trace.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
            return json.loads(file.read().split(b"\n")[-2])

    def speed_rad_s(self, row=None):
        return max(abs(value) for value in (row or self.newest())["dq"][:6])

    def moving(self):
        return self.speed_rad_s() > MOVING_RAD_S

    def stop_time_s(self, fault_s):
        """How long after `fault_s` (time.monotonic) the arm still moved, by its own state.

        In the robot's own time, a millisecond a control cycle: where it is short of CPU, it does
        fewer of them in a second.
        """
        rows = self.trace(fault_s)
        moving = [row["sent"] for row in rows if self.speed_rad_s(row) > MOVING_RAD_S]
        return (max(moving, default=rows[0]["sent"]) - rows[0]["sent"]) / 1000

    def cycles_hz(self):
        """How many control cycles it did in each of the last seconds; a robot does 1000."""
        newest = self.newest()
        rows = self.trace(newest["s"] - 2.0)
        seconds = newest["s"] - rows[0]["s"]
        return (newest["sent"] - rows[0]["sent"]) / max(seconds, 1e-9)

    def need_its_pace(self):
        """Skip where franka-sim is so short of CPU that milliseconds mean nothing."""
        if self.kind == "strict" and self.cycles_hz() < PACE_HZ:
            pytest.skip(
                f"the simulated robot does {self.cycles_hz():.0f} control cycles a second instead "
                "of 1000: this machine is too busy to drive it"
            )

    def close(self):
        self.process.terminate()
        self.process.wait(30)


@contextlib.contextmanager
def peer(kind, folder):
    made = Peer(kind, folder)
    try:
        yield made
    finally:
        made.close()
