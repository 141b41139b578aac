"""What operator, policy and recorder share: the bench's streams in, targets out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from rlco_datasets.contract import CameraSpec, Contract
from rlco_datasets.images import policy_image
from sensor_msgs.msg import Image, JointState
from visualization_msgs.msg import MarkerArray

from rlco.core.monitor import TopicMonitor
from rlco.core.streams import Assembler, Snapshot
from rlco.core.targets import Target
from rlco.nodes import topics, wire
from rlco.nodes.runtime import COMMAND_QOS, RlcoNode, state_qos
from rlco.parameters import BenchParameters

MAX_AGE_PERIODS = 2
"""How old a sample may be when it becomes part of an observation."""

Receive = Callable[[str, int, Any], None]
"""Called with topic, capture stamp (ns) and value."""


class StateSubscriptions:
    """Subscribes to the bench's state and hands each parsed message on; images as policy images.

    A message that cannot be parsed is dropped and reported once per topic, so that a broken driver
    shows as a silent topic and in the log.
    """

    def __init__(
        self,
        node: RlcoNode,
        parameters: BenchParameters,
        contract: Contract,
        receive: Receive,
        *,
        with_images: bool = True,
        with_objects: bool = False,
        depth: int = 10,
    ) -> None:
        """Subscribe `node`; `receive` is called from its callbacks."""
        self._node = node
        self._receive = receive
        self._complained: set[str] = set()
        self.topics: list[str] = []
        qos = state_qos(lock_step=parameters.lock_step, depth=depth)
        self._add(PoseStamped, topics.POSE, qos, lambda message: wire.pose_matrix(message.pose))
        self._add(JointState, topics.FINGERS, qos, wire.finger_width_m)
        if with_images:
            for camera in contract.cameras:
                self._add(Image, topics.image(camera.name), qos, _policy_image(camera))
        if with_objects:
            self._add(MarkerArray, topics.OBJECTS, qos, _object_poses)

    def _add(self, kind: type, topic: str, qos: QoSProfile, parse: Callable[[Any], Any]) -> None:
        def callback(message: Any) -> None:
            try:
                value = parse(message)
            except ValueError as error:
                if topic not in self._complained:
                    self._complained.add(topic)
                    self._node.get_logger().error(f"{topic}: {error}")
                return
            header = message.markers[0].header if kind is MarkerArray else message.header
            self._receive(topic, wire.stamp_ns(header.stamp), value)

        self.topics.append(topic)
        self._node.create_subscription(kind, topic, callback, qos)


class Observer:
    """Turns the bench's state into one snapshot a control period, and watches for silence."""

    def __init__(
        self,
        node: RlcoNode,
        parameters: BenchParameters,
        contract: Contract,
        *,
        on_snapshot: Callable[[Snapshot], None],
        on_repeat: Callable[[int], None],
        **wanted: bool,
    ) -> None:
        """Subscribe; `on_repeat` gets the stamp of a pose that was heard before."""
        self._on_snapshot = on_snapshot
        self._on_repeat = on_repeat
        subscriptions = StateSubscriptions(node, parameters, contract, self._take, **wanted)
        self.monitor = TopicMonitor(
            subscriptions.topics, timeout_s=parameters.silence_s, clock_s=time.monotonic
        )
        self.assembler = Assembler(
            subscriptions.topics,
            period_ns=contract.period_ns,
            max_age_ns=MAX_AGE_PERIODS * contract.period_ns,
        )

    def _take(self, topic: str, stamp_ns: int, value: Any) -> None:
        self.monitor.heard(topic)
        repetitions = self.assembler.streams[topic].duplicates
        snapshot = self.assembler.push(topic, stamp_ns, value)
        if snapshot is not None:
            self._on_snapshot(snapshot)
        elif topic == topics.POSE and self.assembler.streams[topic].duplicates > repetitions:
            self._on_repeat(stamp_ns)


class Commander:
    """Asks the guard for targets; repeats the last one to a bench that repeats its observation."""

    def __init__(self, node: RlcoNode, source: str) -> None:
        """Advertise on `node` the commands of `source`, teleop or policy."""
        pose, gripper = topics.source_pose(source), topics.source_gripper(source)
        self._pose_out = node.create_publisher(PoseStamped, pose, COMMAND_QOS)
        self._gripper_out = node.create_publisher(JointState, gripper, COMMAND_QOS)
        self._last: tuple[int, PoseStamped, JointState] | None = None

    def send(self, target: Target, stamp_ns: int) -> None:
        """Command `target` from `stamp_ns` on, the stamp of the observation that it answers."""
        pose = wire.stamped_pose(target.T_base_target, stamp_ns)
        self._last = (stamp_ns, pose, wire.gripper_target(target.width_m, stamp_ns))
        self.repeat(stamp_ns)

    def repeat(self, stamp_ns: int) -> None:
        """Send the last command again if it was for `stamp_ns`."""
        if self._last is not None and self._last[0] == stamp_ns:
            self._pose_out.publish(self._last[1])
            self._gripper_out.publish(self._last[2])

    def listeners(self) -> int:
        """Return how many nodes listen to both commands."""
        publishers = (self._pose_out, self._gripper_out)
        return int(min(publisher.get_subscription_count() for publisher in publishers))


def _policy_image(camera: CameraSpec) -> Callable[[Image], NDArray[np.uint8]]:
    return lambda message: policy_image(wire.image_array(message), camera)


def _object_poses(message: MarkerArray) -> dict[str, NDArray[np.float64]]:
    if not message.markers:
        raise wire.WireError("no objects in the message")
    return {marker.ns: wire.pose_matrix(marker.pose) for marker in message.markers}
