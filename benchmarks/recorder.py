"""What the recorder keeps of a full bench, and what it costs.

Three 640x480 cameras at 30 Hz, a 1 kHz state and 20 Hz of teleoperation go through DDS into a
recorder process for a minute; the episode is then read back. The peer of what was kept is what was
published in that time; the peer of processor time is one core. Needs about a core for itself.

python benchmarks/recorder.py --json recorder.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import rclpy
import tyro
from _rows import Row, report, row
from geometry_msgs.msg import PoseStamped
from rclpy.signals import SignalHandlerOptions
from rlco.bringup import environment
from rlco.nodes import topics, wire
from rlco.nodes.recorder_state import STATE_QOS
from rlco.nodes.runtime import NodeError, RlcoNode, Runtime, StopFlag, state_qos
from rlco_datasets import spec
from rlco_datasets.contract import CameraSpec, Contract
from rlco_datasets.store import EpisodeStore
from rlco_msgs.msg import RecorderState
from rlco_msgs.srv import StartEpisode, StopEpisode
from sensor_msgs.msg import Image, JointState

CAMERAS = ("left", "right", "wrist")
CAMERA_HZ, STATE_HZ, TELEOP_HZ = 30, 1000, 20
TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Record a bench of three cameras; prints a table."""

    seconds: float = 60.0
    """How long to record."""
    domain: int = 96
    """ROS_DOMAIN_ID to use."""
    json: Path | None = None
    """Where to write the rows."""


def contract() -> Contract:
    """Return the contract: three cameras to 224x224, at the rate of the teleoperation."""
    cameras = tuple(
        CameraSpec(
            name=name,
            source_width=640,
            source_height=480,
            crop=(80, 0, 480, 480),
            width=224,
            height=224,
        )
        for name in CAMERAS
    )
    return Contract(name="three_cameras", cameras=cameras, control_rate_hz=float(TELEOP_HZ))


class Bench(RlcoNode):
    """Publishes everything on an absolute schedule, as drivers would."""

    def __init__(self) -> None:
        """Advertise the topics."""
        super().__init__("bench")
        best_effort, reliable = state_qos(lock_step=False, depth=5), state_qos(lock_step=True)
        self._poses = self.create_publisher(PoseStamped, topics.POSE, best_effort)
        self._fingers = self.create_publisher(JointState, topics.FINGERS, best_effort)
        self._images = [
            self.create_publisher(Image, topics.image(name), best_effort) for name in CAMERAS
        ]
        self._targets = self.create_publisher(PoseStamped, topics.TARGET_POSE, reliable)
        self._widths = self.create_publisher(JointState, topics.GRIPPER_TARGET, reliable)
        self.started = self.create_client(StartEpisode, topics.START_EPISODE)
        self.stopped = self.create_client(StopEpisode, topics.STOP_EPISODE)
        self.state: RecorderState | None = None
        self.create_subscription(
            RecorderState, topics.RECORDER_STATE, lambda m: setattr(self, "state", m), STATE_QOS
        )
        rng = np.random.default_rng(0)
        frame = rng.integers(0, 255, (480, 640, 3), np.uint8)
        self._frame = wire.image_message(frame, "camera", 0)
        self._pose = wire.stamped_pose(np.diag([1.0, -1.0, -1.0, 1.0]), 0)
        self.sent = {"camera": 0, "state": 0, "teleop": 0}

    def tick(self, millisecond: int) -> None:
        """Publish what is due in this millisecond."""
        now = wire.time_message(time.time_ns())
        self._pose.header.stamp = now
        self._poses.publish(self._pose)
        self.sent["state"] += 1
        for number, image in enumerate(self._images):
            # Cameras that run free of each other: their frames are 11 ms apart.
            if (millisecond * CAMERA_HZ + number * 333) % 1000 < CAMERA_HZ:
                self._frame.header.stamp = now
                image.publish(self._frame)
                self.sent["camera"] += 1
        if millisecond % (1000 // TELEOP_HZ) == 0:
            nanoseconds = wire.stamp_ns(now)
            self._targets.publish(self._pose)
            self._widths.publish(wire.gripper_target(0.08, nanoseconds))
            self.sent["teleop"] += 1
        if millisecond % 33 == 0:
            self._fingers.publish(wire.fingers(0.08, wire.stamp_ns(now)))


def publish(bench: Bench, runtime: Runtime, seconds: float) -> float:
    """Publish for so long, on an absolute 1 ms clock; return the largest delay in ms."""
    start_s, worst_s = time.monotonic(), 0.0
    for millisecond in range(round(seconds * 1000)):
        left_s = start_s + millisecond / 1000 - time.monotonic()
        if left_s > 0:
            time.sleep(left_s)
        worst_s = max(worst_s, -left_s)
        bench.tick(millisecond)
        if millisecond % 100 == 0:
            runtime.spin_until(lambda: True)
    return worst_s * 1e3


def start(bench: Bench, runtime: Runtime) -> None:
    """Begin to record once every stream is heard at its rate."""
    request = StartEpisode.Request(
        task="bench", instruction="move", source="real", operator_name="benchmark"
    )
    for _ in range(30):
        publish(bench, runtime, 1.0)
        if bench.started.service_is_ready():
            waiting = bench.started.call_async(request)
            publish(bench, runtime, 0.5)
            runtime.spin_until(waiting.done, TIMEOUT_S)
            if waiting.result().success:
                return
    raise NodeError(f"the recorder did not start: {waiting.result().message}")


def measure(arguments: Arguments, folder: Path, stop: StopFlag) -> list[Row]:
    """Record, read back, and return the rows."""
    spec.save(contract(), folder / "contract.yaml")
    recorder = subprocess.Popen(
        [
            *(sys.executable, "-m", "rlco.nodes.recorder", "--ros-args"),
            *("-p", f"store:={folder / 'store'}", "-p", "lock_step:=false"),
            *("-p", f"contract:={folder / 'contract.yaml'}", "-p", "buffer_mb:=1024"),
        ]
    )
    bench = Bench()
    runtime = Runtime(bench, stop)
    try:
        start(bench, runtime)
        processes = [psutil.Process(recorder.pid), *psutil.Process(recorder.pid).children()]
        before_s = [sum(p.cpu_times()[:2]) for p in processes]
        bench.sent = dict.fromkeys(bench.sent, 0)
        late_ms = publish(bench, runtime, arguments.seconds)
        used_s = [sum(p.cpu_times()[:2]) for p in processes]
        memory_mb = [p.memory_info().rss / 1e6 for p in processes]
        begun_s = time.monotonic()
        waiting = bench.stopped.call_async(StopEpisode.Request(outcome="success"))
        runtime.spin_until(waiting.done, TIMEOUT_S)
        written_s = time.monotonic() - begun_s
        reply = waiting.result()
        if reply is None or not reply.success:
            raise NodeError(f"not recorded: {reply and reply.message}")
    finally:
        runtime.close()
        bench.destroy_node()
        recorder.terminate()
        recorder.wait(60)
    print(f"the publisher was at most {late_ms:.1f} ms late; flags: {list(reply.flags)}")
    episode = EpisodeStore.open(folder / "store").episode(0)
    steps, n = len(episode), round(arguments.seconds)
    fresh = [len(np.unique(episode.stamps_ns[f"camera/{name}"])) for name in CAMERAS]
    assert bench.state is not None
    streams = {item.name: item for item in bench.state.streams}
    dropped = sum(item.dropped for item in streams.values())
    shares = [(b - a) / arguments.seconds * 100 for a, b in zip(before_s, used_s, strict=True)]
    rows = [row("committed steps", steps, bench.sent["teleop"], "steps", n, better="higher")]
    rows += [
        row(f"steps with a frame of their own, {name}", count, steps, "frames", n, better="higher")
        for name, count in zip(CAMERAS, fresh, strict=True)
    ]
    rows += [
        row(f"rate of {name}", streams[topic].rate_hz, hz, "Hz", n, better="higher")
        for name, topic, hz in (
            ("the state", topics.POSE, STATE_HZ),
            *((f"camera {c}", topics.image(c), CAMERA_HZ) for c in CAMERAS),
        )
    ]
    rows.append(row("samples dropped by the recorder (+1)", dropped + 1, 1, "", n))
    for name, share, size in zip(("callbacks", "writer"), shares, memory_mb, strict=True):
        rows.append(row(f"processor, {name}", share, 100.0, "% of a core", n))
        rows.append(row(f"memory, {name}", size, 1000.0, "MB", n))
    rows.append(row("stop to committed", written_s, arguments.seconds, "s", 1))
    return rows


def main() -> None:
    """Measure and print."""
    arguments = tyro.cli(Arguments, description=__doc__)
    os.environ.update(environment() | {"ROS_DOMAIN_ID": str(arguments.domain)})
    stop = StopFlag()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with tempfile.TemporaryDirectory(prefix="rlco_recorder_") as folder:
        rows = measure(arguments, Path(folder), stop)
    rclpy.try_shutdown()
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
