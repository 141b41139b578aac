"""From settings to a camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlco.drivers.camera.camera import Camera
from rlco.drivers.camera.realsense import RealSenseCamera
from rlco.drivers.camera.topic import TopicCamera
from rlco.drivers.camera.uvc import UvcCamera
from rlco.parameters.camera import CameraSettings

if TYPE_CHECKING:
    from rclpy.node import Node


def make_camera(settings: CameraSettings, node: Node, sleep: Callable[[float], object]) -> Camera:
    """Return the driver that `settings` names, not yet open.

    Args:
        settings: The camera.
        node: Where a topic is subscribed.
        sleep: How the driver waits; may return early when the node ends.

    Raises:
        CameraSetupError: if the driver's library is not installed, saying how to.
    """
    if settings.driver == "realsense":
        return RealSenseCamera(settings, sleep=sleep)
    if settings.driver == "uvc":
        return UvcCamera(settings, sleep=sleep)
    return TopicCamera(settings, node)
