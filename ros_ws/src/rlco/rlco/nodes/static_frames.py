"""Poses that do not change, on TF."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from rlco_datasets.frames import quaternion_wxyz

from rlco.nodes import wire
from rlco.nodes.runtime import RlcoNode

TF_STATIC = "/tf_static"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def publish_static_frame(
    node: RlcoNode, child: str, T_base_child: NDArray[np.float64], *, parent: str = wire.BASE_FRAME
) -> bool:
    """Publish the pose of `child` in `parent` for as long as the node lives.

    Returns False, after a warning, where tf2_msgs is not installed: only viewers need TF.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        node.get_logger().warning(
            f"{child} is not on TF: tf2_msgs is not installed (apt-get install ros-jazzy-tf2-msgs)"
        )
        return False
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    transform.header.stamp = node.get_clock().now().to_msg()
    moved, turned = transform.transform.translation, transform.transform.rotation
    moved.x, moved.y, moved.z = T_base_child[:3, 3].tolist()
    turned.w, turned.x, turned.y, turned.z = quaternion_wxyz(T_base_child[:3, :3]).tolist()
    publisher = node.create_publisher(TFMessage, TF_STATIC, LATCHED)
    publisher.publish(TFMessage(transforms=[transform]))
    return True
