"""The way of a command: how long it takes through the guard, and how even a policy's commands are.

Teleoperation to arm: stamped targets at 20 Hz from this process through the guard and back; the
peer is the same way without a guard, topic to topic. Jitter: the policy node at 20 Hz, asking a
server that takes 100 ms, on the simulated lab's place; the peer is the 5 ms that a schedule may be
missed by. On an otherwise idle machine.

python benchmarks/commands.py --json commands.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rclpy
import tyro
from _rows import Row, report, row
from _server_peers import server
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.signals import SignalHandlerOptions
from rlco.bringup import environment
from rlco.nodes import topics, wire
from rlco.nodes.runtime import NodeError, RlcoNode, Runtime, StopFlag, state_qos
from rlco_datasets import spec
from rlco_datasets.contract import Contract, franka_compact
from rlco_msgs.srv import SelectSource, StartPolicy
from rlco_policy_server.options import ServeOptions
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.process import exit_cleanly_on_signals, serve
from sensor_msgs.msg import CameraInfo, Image, JointState

RATE_HZ = 20.0
ANSWER_S = 0.1
MISS_MS = 5.0
TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure command latency and jitter; prints a table."""

    seconds: float = 30.0
    """How long to measure each."""
    domain: int = 95
    """ROS_DOMAIN_ID to use."""
    json: Path | None = None
    """Where to write the rows."""


def contract() -> Contract:
    """Return the compact contract at 20 Hz, with chunks of 400 ms."""
    return replace(
        franka_compact(), name="at_20_hz", control_rate_hz=RATE_HZ, horizon=8, executed_steps=4
    )


class SlowPolicy:
    """Answers after 100 ms with small steps."""

    def __init__(self) -> None:
        """Speak the contract."""
        self.contract = contract()

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Return a chunk that moves 1 mm a step."""
        time.sleep(ANSWER_S)
        actions = np.zeros((len(state), self.contract.horizon, 7), np.float32)
        actions[..., 1], actions[..., 6] = 0.001, 1.0
        return actions


def serve_slow(ready_file: Path) -> None:
    """Run the policy server in this process."""
    exit_cleanly_on_signals()
    served = ServedPolicy(alias="slow", policy=SlowPolicy(), policy_id="slow")
    serve([served], ServeOptions(port=0, ready_file=ready_file))


class Bench(RlcoNode):
    """Stands still: state at 100 Hz, one camera at 30 Hz; hears what the guard lets through."""

    def __init__(self) -> None:
        """Advertise and subscribe."""
        super().__init__("bench")
        best_effort = state_qos(lock_step=False, depth=5)
        camera = contract().cameras[0]
        self._pose = wire.stamped_pose(np.diag([1.0, -1.0, -1.0, 1.0]), 0)
        self._pose.pose.position.x, self._pose.pose.position.z = 0.5, 0.3
        frame = np.zeros((camera.source_height, camera.source_width, 3), np.uint8)
        self._image = wire.image_message(frame, "camera", 0)
        self._poses = self.create_publisher(PoseStamped, topics.POSE, best_effort)
        self._fingers = self.create_publisher(JointState, topics.FINGERS, best_effort)
        self._images = self.create_publisher(Image, topics.image(camera.name), best_effort)
        self._infos = self.create_publisher(
            CameraInfo, topics.camera_info(camera.name), best_effort
        )
        self.asks = self.create_publisher(PoseStamped, topics.source_pose("teleop"), 10)
        self.direct = self.create_publisher(PoseStamped, "without_guard", 10)
        self.heard: list[tuple[int, int]] = []
        self.heard_direct: list[tuple[int, int]] = []
        self.create_subscription(PoseStamped, topics.TARGET_POSE, self._keep(self.heard), 10)
        self.create_subscription(PoseStamped, "without_guard", self._keep(self.heard_direct), 10)
        self.create_subscription(JointState, topics.GRIPPER_TARGET, lambda _: None, 10)
        self.select = self.create_client(SelectSource, topics.SELECT_SOURCE)
        self.start_policy = self.create_client(StartPolicy, topics.START_POLICY)
        self._ticks = [self.wall_timer(0.01, self._state), self.wall_timer(1 / 30, self._camera)]

    def _keep(self, heard: list[tuple[int, int]]) -> Callable[[PoseStamped], None]:
        return lambda message: heard.append((wire.stamp_ns(message.header.stamp), time.time_ns()))

    def _state(self) -> None:
        now_ns = time.time_ns()
        self._pose.header.stamp = wire.time_message(now_ns)
        self._poses.publish(self._pose)
        self._fingers.publish(wire.fingers(0.08, now_ns))

    def _camera(self) -> None:
        self._image.header.stamp = wire.time_message(time.time_ns())
        self._images.publish(self._image)
        self._infos.publish(CameraInfo())

    def ask(self) -> None:
        """Command the present pose, through the guard and without it."""
        message = PoseStamped(header=self._pose.header, pose=self._pose.pose)
        message.header.frame_id = wire.BASE_FRAME
        message.header.stamp = wire.time_message(time.time_ns())
        self.asks.publish(message)
        self.direct.publish(message)


def until(done: Callable[[], object], runtime: Runtime, what: str) -> None:
    """Wait for a condition.

    Raises:
        NodeError: if it does not come about.
    """
    if not runtime.spin_until(lambda: bool(done()), TIMEOUT_S):
        raise NodeError(f"waited {TIMEOUT_S:.0f} s for {what}")


def hand_over(bench: Bench, runtime: Runtime, source: str) -> None:
    """Let a source drive."""

    def done() -> bool:
        request = SelectSource.Request(source=source)
        return bool(runtime.call(bench.select, request, repeatable=True).success)

    until(done, runtime, f"the guard to hand over to {source}")


def latencies_ms(heard: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Return how long each message took, after the first second."""
    return np.array([(b - a) / 1e6 for a, b in heard[int(RATE_HZ) :]])


def measure(bench: Bench, runtime: Runtime, seconds: float) -> list[Row]:
    """Return the rows of both measurements."""
    hand_over(bench, runtime, "teleop")
    tick = bench.wall_timer(1.0 / RATE_HZ, bench.ask)
    runtime.spin_until(lambda: False, seconds)
    tick.cancel()
    guarded, direct = latencies_ms(bench.heard), latencies_ms(bench.heard_direct)
    hand_over(bench, runtime, "policy")
    request = StartPolicy.Request(instruction="move", session="benchmark")
    until(
        lambda: runtime.call(bench.start_policy, request, timeout_s=30.0).success,
        runtime,
        "the policy to start",
    )
    bench.heard.clear()
    runtime.spin_until(lambda: False, seconds)
    stamps, arrivals = np.array(bench.heard[int(RATE_HZ) :], float).T
    off = np.abs(arrivals - stamps) / 1e6
    gaps = np.diff(arrivals) / 1e6
    uneven = np.abs(gaps - 1000.0 / RATE_HZ)
    rows = []
    for name, share in (("p50", 50), ("p99", 99)):
        ours, peer = np.percentile(guarded, share), np.percentile(direct, share)
        rows.append(row(f"teleoperation to arm, {name}", ours, peer, "ms", len(guarded)))
    for name, share in (("p50", 50), ("p99", 99)):
        rows.append(
            row(f"off schedule, {name}", np.percentile(off, share), MISS_MS, "ms", len(off))
        )
        ours = np.percentile(uneven, share)
        rows.append(row(f"uneven interval, {name}", ours, MISS_MS, "ms", len(uneven)))
    return rows


def node(module: str, folder: Path, **parameters: object) -> subprocess.Popen[bytes]:
    """Start a node."""
    path = folder / f"{module}.json"  # JSON is YAML
    path.write_text(json.dumps({"/**": {"ros__parameters": parameters}}))
    words = ["-m", f"rlco.nodes.{module}", "--ros-args", "--params-file", str(path)]
    return subprocess.Popen([sys.executable, *words])


def main() -> None:
    """Measure and print."""
    arguments = tyro.cli(Arguments, description=__doc__)
    os.environ.update(environment() | {"ROS_DOMAIN_ID": str(arguments.domain)})
    stop = StopFlag()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with (
        tempfile.TemporaryDirectory(prefix="rlco_commands_") as name,
        server(serve_slow) as (url, _),
    ):
        folder = Path(name)
        spec.save(contract(), folder / "contract.yaml")
        common = {"contract": str(folder / "contract.yaml"), "lock_step": False}
        processes = [
            node("guard", folder, **common, max_command_age_s=1.0, max_state_age_s=1.0),
            node("policy", folder, **common, server=url, lead_steps=3),
        ]
        bench = Bench()
        runtime = Runtime(bench, stop)
        try:
            rows = measure(bench, runtime, arguments.seconds)
        finally:
            runtime.close()
            bench.destroy_node()
            for process in processes:
                process.terminate()
                process.wait(60)
    rclpy.try_shutdown()
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
