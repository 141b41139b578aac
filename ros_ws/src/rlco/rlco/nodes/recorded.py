"""What the recorder hears, as it comes over the wire: serialized messages and how to read them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message
from rlco_datasets.contract import CameraSpec, Contract
from rlco_datasets.images import policy_image
from sensor_msgs.msg import Image, JointState

from rlco.core.recording import RecordedTopics
from rlco.nodes import wire

LITTLE_ENDIAN = 1
_STAMP_OFFSET = 4
"""Bytes of the encapsulation header; every message here begins with a std_msgs/Header."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A topic's message type, and how its value is read from a message."""

    kind: type
    parse: Callable[[Any], Any]

    @property
    def type_name(self) -> str:
        """The type as ROS writes it, for example `sensor_msgs/msg/Image`."""
        package, _, _ = self.kind.__module__.partition(".msg")
        return f"{package}/msg/{self.kind.__name__}"

    def read(self, raw: bytes) -> Any:
        """Return the value of a serialized message.

        Raises:
            ValueError: if the message does not hold what its topic promises.
        """
        try:
            message = deserialize_message(raw, self.kind)
        except RuntimeError as error:  # of the middleware, where the bytes are not of the type
            raise wire.WireError(f"not a {self.type_name}: {error}") from error
        return self.parse(message)


def readers(topics: RecordedTopics, contract: Contract) -> dict[str, Reader]:
    """Return how each topic is read; images become policy images."""
    pose = Reader(kind=PoseStamped, parse=lambda message: wire.pose_matrix(message.pose))
    width = Reader(kind=JointState, parse=wire.gripper_target_width_m)
    found = dict.fromkeys(topics.poses, pose)
    found |= {topic: width for topic in (topics.width_target, topics.raw_width) if topic}
    found[topics.width] = Reader(kind=JointState, parse=wire.finger_width_m)
    for camera, topic in topics.images.items():
        found[topic] = Reader(kind=Image, parse=_policy_image(contract.camera(camera)))
    return found


def raw_stamp_ns(raw: bytes) -> int:
    """Return the capture stamp of a serialized message that begins with a header.

    Raises:
        WireError: if the message is too short to have one.
    """
    if len(raw) < _STAMP_OFFSET + 8:
        raise wire.WireError(f"a message of {len(raw)} bytes has no header")
    order = "<" if raw[1] == LITTLE_ENDIAN else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", raw, _STAMP_OFFSET)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _policy_image(camera: CameraSpec) -> Callable[[Image], Any]:
    return lambda message: policy_image(wire.image_array(message), camera)
