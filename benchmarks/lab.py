"""The control period of the simulated lab, end to end, and its jitter.

A sim_lab process and a commander in this one, over DDS: physics, 320x240 rendering, images, state
and commands, all of it. In lock step the lab is as fast as it can be; the peer is the contract's
period, which a real bench would take. By the wall clock the lab keeps that period; the peer of the
jitter is the period as well.

python benchmarks/lab.py --json lab.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
import tyro
from _rows import report, row
from numpy.typing import NDArray
from rclpy.signals import SignalHandlerOptions
from rlco.bringup import environment
from rlco.core.streams import Snapshot
from rlco.core.targets import TargetIntegrator
from rlco.nodes import topics
from rlco.nodes.bench_client import Commander, Observer
from rlco.nodes.runtime import NodeError, RlcoNode, Runtime, StopFlag
from rlco.parameters import BenchParameters
from rlco_calibration.twin import demo_bench
from rlco_datasets.contract import Contract, franka_compact

START_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the lab's control period; prints a table."""

    steps: int = 300
    """Control periods in lock step."""
    wall_steps: int = 100
    """Control periods by the wall clock, 0.1 s each."""
    domain: int = 97
    """ROS_DOMAIN_ID to use."""
    json: Path | None = None
    """Where to write the rows."""


class Pilot(RlcoNode):
    """Answers every observation with a small movement and notes when it came."""

    def __init__(self, contract: Contract, *, lock_step: bool) -> None:
        """Subscribe to state and images."""
        super().__init__("pilot")
        self.times_s: list[float] = []
        self._integrator = TargetIntegrator(contract, (0.28, -0.36, 0.1), (0.8, 0.36, 0.5))
        self._commander = Commander(self, "policy")
        self._observer = Observer(
            self,
            BenchParameters(lock_step=lock_step),
            contract,
            on_snapshot=self._on_snapshot,
            on_repeat=self._commander.repeat,
        )

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        if not self.times_s:
            self._integrator.start(snapshot[topics.POSE], snapshot[topics.FINGERS])
        self.times_s.append(time.perf_counter())
        action = np.zeros(7)
        action[1] = 0.01 * np.sin(len(self.times_s) / 5)
        self._commander.send(self._integrator.advance(action), snapshot.stamp_ns)


def periods_ms(steps: int, *, lock_step: bool, stop: StopFlag) -> NDArray[np.float64]:
    """Return `(steps,)`: the wall time of each control period, after ten to warm up."""
    lab = subprocess.Popen(
        [
            *(sys.executable, "-m", "rlco.nodes.sim_lab", "--ros-args"),
            *("-p", f"twin:={demo_bench()}", "-p", f"lock_step:={str(lock_step).lower()}"),
        ]
    )
    guard = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "rlco.nodes.guard",
                "--ros-args",
                "-p",
                "initial_source:=policy",
            ),
            *("-p", f"lock_step:={str(lock_step).lower()}"),
        ]
    )
    pilot = Pilot(franka_compact(), lock_step=lock_step)
    runtime = Runtime(pilot, stop)
    try:
        wanted = steps + 11
        if not runtime.spin_until(lambda: len(pilot.times_s) >= wanted, START_TIMEOUT_S):
            raise NodeError(f"{len(pilot.times_s)} of {wanted} observations came; see above")
    finally:
        runtime.close()
        pilot.destroy_node()
        for process in (guard, lab):
            process.terminate()
            process.wait(60)
    return np.diff(pilot.times_s[10:wanted]) * 1e3


def main() -> None:
    """Measure both modes."""
    arguments = tyro.cli(Arguments, description=__doc__)
    os.environ.update(environment() | {"ROS_DOMAIN_ID": str(arguments.domain)})
    stop = StopFlag()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    period_ms = franka_compact().period_s * 1e3
    rows = []
    lock = periods_ms(arguments.steps, lock_step=True, stop=stop)
    rows.append(row("lab period, lock step, p50", np.median(lock), period_ms, "ms", len(lock)))
    rows.append(
        row("lab period, lock step, p99", np.percentile(lock, 99), period_ms, "ms", len(lock))
    )
    wall = periods_ms(arguments.wall_steps, lock_step=False, stop=stop)
    rows.append(row("lab period, wall clock, p50", np.median(wall), period_ms, "ms", len(wall)))
    off = np.abs(wall - period_ms)
    rows.append(row("lab jitter, wall clock, p50", np.median(off), period_ms, "ms", len(off)))
    rows.append(
        row("lab jitter, wall clock, p99", np.percentile(off, 99), period_ms, "ms", len(off))
    )
    rclpy.try_shutdown()
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
