"""Poses on TF: those that do not change, and the TCP's.

Frames are named within the node's namespace (`bench1/base`, `bench1/tcp`), because TF is one tree
for all benches of a network. Only viewers need TF: where tf2_msgs is not installed, nodes warn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rlco_datasets.frames import quaternion_wxyz

from rlco.nodes import wire

TF, TF_STATIC = "/tf", "/tf_static"
TCP_FRAME = "tcp"
MOVING = QoSProfile(depth=100)
"""As tf2's own broadcasters and listeners have it."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def frame_of(node: Node, name: str) -> str:
    """Return the name on TF of a frame of the node's bench."""
    namespace = node.get_namespace().strip("/")
    return f"{namespace}/{name}" if namespace else name


def publish_static_frame(
    node: Node, child: str, T_base_child: NDArray[np.float64], *, parent: str = wire.BASE_FRAME
) -> bool:
    """Publish the pose of `child` in `parent` for as long as the node lives.

    Returns False, after a warning, where tf2_msgs is not installed.
    """
    message_type = _message_type(node, child)
    if message_type is None:
        return False
    stamp_ns = node.get_clock().now().nanoseconds
    publisher = node.create_publisher(message_type, TF_STATIC, LATCHED)
    moved = _transform(frame_of(node, parent), frame_of(node, child), T_base_child, stamp_ns)
    publisher.publish(message_type(transforms=[moved]))
    return True


class TcpFrame:
    """Broadcasts the TCP's pose in the base frame while someone listens."""

    def __init__(self, node: Node) -> None:
        """Advertise; does nothing, after a warning, where tf2_msgs is not installed."""
        self._message_type = _message_type(node, TCP_FRAME)
        self._names = (frame_of(node, wire.BASE_FRAME), frame_of(node, TCP_FRAME))
        self._out = None
        if self._message_type is not None:
            self._out = node.create_publisher(self._message_type, TF, MOVING)

    def send(self, T_base_tcp: NDArray[np.float64], stamp_ns: int) -> None:
        """Tell the pose measured at `stamp_ns`."""
        if self._out is None or self._out.get_subscription_count() == 0:
            return
        moved = _transform(*self._names, T_base_tcp, stamp_ns)
        self._out.publish(self._message_type(transforms=[moved]))


def _message_type(node: Node, child: str) -> Any:
    """Return tf2_msgs's TFMessage; None, after a warning, where it is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        node.get_logger().warning(
            f"{child} is not on TF: tf2_msgs is not installed (apt-get install ros-jazzy-tf2-msgs)"
        )
        return None
    return TFMessage


def _transform(
    parent: str, child: str, T_parent_child: NDArray[np.float64], stamp_ns: int
) -> TransformStamped:
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    transform.header.stamp = wire.time_message(stamp_ns)
    moved, turned = transform.transform.translation, transform.transform.rotation
    moved.x, moved.y, moved.z = T_parent_child[:3, 3].tolist()
    turned.w, turned.x, turned.y, turned.z = quaternion_wxyz(T_parent_child[:3, :3]).tolist()
    return transform
