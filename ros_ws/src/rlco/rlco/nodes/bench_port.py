"""A bench by its topics, as a calibration needs it: see, move, have the board put somewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rlco_calibration.port import BoardPlace, Reading
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import InitialCondition
from rlco_msgs.srv import ResetScene
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from rlco.core.streams import Snapshot
from rlco.core.targets import Target
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import Commander, Observer
from rlco.nodes.guard_client import GuardClient
from rlco.nodes.runtime import COMMAND_QOS, NodeError, RlcoNode, state_qos
from rlco.parameters import BenchParameters

Array = NDArray[np.float64]

START_TIMEOUT_S = 300.0
"""A simulated lab loads for seconds on a free machine, for minutes on a busy one."""


class RosBenchPort:
    """A `rlco_calibration.port.BenchPort` over ROS topics, through the guard."""

    def __init__(self, node: RlcoNode, parameters: BenchParameters, contract: Contract) -> None:
        """Subscribe `node` to the bench."""
        self._node, self._contract = node, contract
        self._patience_s = 10 * parameters.silence_s
        self._snapshot: Snapshot | None = None
        self._sent: dict[int, Array] = {}
        self._frames: dict[str, Image] = {}
        self._commander = Commander(node, "teleop")
        self._observer = Observer(
            node,
            parameters,
            contract,
            on_snapshot=self._on_snapshot,
            on_repeat=self._commander.repeat,
            with_images=False,
            with_objects=True,
        )
        self._guard = GuardClient(node, contract)
        self._reset = node.create_client(ResetScene, topics.RESET_SCENE)
        node.create_subscription(PoseStamped, topics.TARGET_POSE, self._on_sent, COMMAND_QOS)
        qos = state_qos(lock_step=parameters.lock_step, depth=2)
        for camera in contract.camera_names:
            node.create_subscription(Image, topics.image(camera), self._keep(camera), qos)

    def connect(self) -> None:
        """Wait for the bench and the guard, and take the arm over."""
        self._guard.hand_over("teleop", timeout_s=START_TIMEOUT_S)
        self._wait(lambda: self._snapshot is not None, START_TIMEOUT_S, "a complete observation")

    def release(self) -> None:
        """Give the arm back."""
        self._guard.hand_over("none", timeout_s=60.0)

    def read(self) -> Reading:
        """Return the arm's state now."""
        now = self._now()
        return Reading(
            stamp_ns=now.stamp_ns, T_base_tcp=now[topics.POSE], width_m=now[topics.FINGERS]
        )

    def frame(self, camera: str) -> tuple[int, NDArray[np.uint8]]:
        """Return a camera's frame that is not older than the arm's state."""
        since_ns = self._now().stamp_ns

        def there() -> bool:
            message = self._frames.get(camera)
            return message is not None and wire.stamp_ns(message.header.stamp) >= since_ns

        self._wait(there, START_TIMEOUT_S, f"a frame on {topics.image(camera)}")
        message = self._frames[camera]
        return wire.stamp_ns(message.header.stamp), np.array(wire.image_array(message))

    def objects(self) -> dict[str, Array]:
        """Return what the bench's tracker says."""
        return dict(self._now()[topics.OBJECTS])

    def command(self, T_base_target: Array, width_m: float) -> Array:
        """Send a target for one control period; return what the guard let through."""
        stamp_ns = self._now().stamp_ns
        self._snapshot = None
        self._sent = {}
        self._commander.send(Target(T_base_target=T_base_target, width_m=width_m), stamp_ns)
        self._wait(
            lambda: self._snapshot is not None and stamp_ns in self._sent,
            self._patience_s,
            f"an answer to the command on {topics.TARGET_POSE}",
        )
        return self._sent[stamp_ns]

    def place_board(self, where: BoardPlace) -> None:
        """Have the lab's board put somewhere."""
        client = self._node.create_client(Trigger, topics.board(where))
        self._node.runtime.call(client, Trigger.Request(), timeout_s=60.0, repeatable=True)
        self._frames.clear()

    def lay_out(self, condition: InitialCondition) -> None:
        """Have objects put in place, and take the arm over at the condition's start."""
        self._guard.hand_over("none", timeout_s=60.0)
        request = ResetScene.Request(initial_condition=wire.initial_condition_message(condition))
        reply = self._node.runtime.call(self._reset, request, timeout_s=START_TIMEOUT_S)
        if not reply.success:
            raise NodeError(f"the scene could not be laid out: {reply.message}")
        self._guard.hand_over("teleop", timeout_s=60.0)
        self._snapshot = self._observer.assembler.restart(wire.stamp_ns(reply.stamp))
        self._now()

    def _now(self) -> Snapshot:
        self._wait(lambda: self._snapshot is not None, self._patience_s, "a complete observation")
        assert self._snapshot is not None
        return self._snapshot

    def _wait(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        if not self._node.runtime.spin_until(done, timeout_s):
            reason = self._guard.stopped or self._observer.monitor.complaint()
            raise NodeError(f"no {what} within {timeout_s:.0f} s. {reason}")

    def _keep(self, camera: str) -> Callable[[Image], None]:
        def keep(message: Image) -> None:
            self._frames[camera] = message

        return keep

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def _on_sent(self, message: PoseStamped) -> None:
        self._sent[wire.stamp_ns(message.header.stamp)] = wire.pose_matrix(message.pose)
