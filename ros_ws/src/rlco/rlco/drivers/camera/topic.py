"""A camera that somebody else's driver already publishes: any Image or CompressedImage topic.

Its stamps are taken as they are, for they are ROS time; its frames are converted to rgb8.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from rlco.drivers.camera.camera import CameraLostError, Frame, Opened
from rlco.nodes import wire
from rlco.nodes.runtime import state_qos
from rlco.parameters.camera import CameraSettings

if TYPE_CHECKING:
    from rclpy.node import Node

WAITING = 2
"""Frames that may wait to be read; older ones are dropped."""


class TopicCamera:
    """Reads what the node's executor receives."""

    def __init__(self, settings: CameraSettings, node: Node) -> None:
        """Subscribe `node`, best effort: that hears every publisher."""
        self._settings = settings
        self._waiting: queue.Queue[Any] = queue.Queue(WAITING)
        self._last_ns = 0
        kind = CompressedImage if settings.compressed else Image
        node.create_subscription(
            kind, settings.topic, self._on_message, state_qos(lock_step=False, depth=WAITING)
        )

    def open(self) -> Opened:
        """Forget frames from before."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        return Opened(text=f"topic {self._settings.topic}")

    def read(self, timeout_s: float) -> Frame:
        """Return the next frame; one that is no newer than the last is passed over."""
        while True:
            try:
                message = self._waiting.get(timeout=timeout_s)
            except queue.Empty:
                raise CameraLostError(
                    f"topic {self._settings.topic} gave no frame for {timeout_s:g} s. Is its "
                    "driver running, in the same ROS_DOMAIN_ID?"
                ) from None
            stamp_ns = wire.stamp_ns(message.header.stamp)
            if stamp_ns <= self._last_ns:
                continue
            try:
                rgb = _decode(message) if self._settings.compressed else wire.image_array(message)
            except ValueError as error:
                raise CameraLostError(f"topic {self._settings.topic}: {error}") from error
            self._last_ns = stamp_ns
            return Frame(rgb=rgb, captured_ns=stamp_ns, clock="ros")

    def close(self) -> None:
        """Nothing to let go: the subscription lives as long as the node."""

    def _on_message(self, message: Any) -> None:
        while True:
            try:
                self._waiting.put_nowait(message)
            except queue.Full:
                self._waiting.get_nowait()
            else:
                return


def _decode(message: CompressedImage) -> NDArray[np.uint8]:
    """Return a compressed image as `(H, W, 3)` uint8 RGB.

    Raises:
        WireError: if it cannot be decoded.
    """
    bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise wire.WireError(f"compressed image in format {message.format!r} cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
