"""A camera as a ROS 2 node: frames, intrinsics, pose on TF, and how it is doing.

One thread reads the camera and publishes; a camera that is lost is opened again until it is back.
Stamps are capture times: those of the device's clock mapped to ROS time, or a topic's own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rclpy.node import Node
from rclpy.publisher import Publisher
from rlco_calibration.parts import CameraModel
from rlco_calibration.twin import load_twin
from sensor_msgs.msg import CameraInfo, Image

from rlco.core.clock_mapping import ClockMapping
from rlco.core.frame_gaps import FrameGaps
from rlco.core.monitor import TopicMonitor
from rlco.drivers.camera.camera import (
    Camera,
    CameraLostError,
    CameraSetupError,
    Frame,
    Intrinsics,
    Opened,
)
from rlco.drivers.camera.make import make_camera
from rlco.nodes import topics, wire
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.runtime import NodeError, RlcoNode, declare, main, state_qos
from rlco.nodes.tf import frame_of, publish_static_frame
from rlco.parameters import CameraSettings

DEPTH = 5
"""Frames that DDS keeps for a slow listener."""
REPORT_S = 1.0

MakeCamera = Callable[[CameraSettings, Node, Callable[[float], object]], Camera]
"""As `make_camera`."""


class CameraNode(RlcoNode):
    """Publishes one camera."""

    def __init__(self, make: MakeCamera = make_camera) -> None:
        """Advertise the topics and begin to read."""
        super().__init__("camera")
        self._settings = declare(self, CameraSettings)
        self._stopping = threading.Event()
        name = self._settings.name
        self._frame_id = frame_of(self, wire.optical_frame(name))
        self._model = self._from_twin()
        self._diagnostics = Diagnostics(self)
        qos = state_qos(lock_step=False, depth=DEPTH)
        self._image_out = self.create_publisher(Image, topics.image(name), qos)
        self._info_out = self.create_publisher(CameraInfo, topics.camera_info(name), qos)
        self._depth_out: Publisher | None = None
        if self._settings.depth:
            self._depth_out = self.create_publisher(Image, topics.depth(name), qos)
        if self._model is not None:
            publish_static_frame(self, wire.optical_frame(name), self._model.T_base_camera)
        self._mapping, self._device_clock = ClockMapping(), ""
        self._gaps = FrameGaps(self._settings.rate_hz)
        self._monitor = TopicMonitor(
            [topics.image(name)],
            timeout_s=self._settings.timeout_s,
            clock_s=time.monotonic,
            expected_hz={topics.image(name): float(self._settings.rate_hz)},
        )
        self._complaint = ""
        self._report_due_s = 0.0
        try:
            self._camera = make(self._settings, self, self._stopping.wait)
        except CameraSetupError as error:
            raise NodeError(str(error)) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="camera")
        self._reading: Future[None] = self._thread.submit(self._serve)

    def run(self) -> int:
        """Serve until stopped, or until the camera turns out not to do what is asked."""
        self.runtime.spin_until(self._reading.done)
        try:
            self._reading.result()
        except CameraSetupError as error:
            raise NodeError(str(error)) from error
        return 0

    def close(self) -> None:
        """End the reading thread."""
        self._stopping.set()
        self._thread.shutdown(wait=True)

    def _serve(self) -> None:
        """Read until the node ends; runs in a thread of its own."""
        while not self._stopping.is_set():
            try:
                self._stream(self._camera.open())
            except CameraLostError as error:
                self._complain(str(error))
            finally:
                self._camera.close()
            self._stopping.wait(self._settings.retry_s)

    def _stream(self, opened: Opened) -> None:
        self._mapping.restart()
        self._gaps.restart()
        known = opened.intrinsics or self._model
        first = True
        while not self._stopping.is_set():
            frame = self._camera.read(self._settings.timeout_s)
            stamp_ns = self._stamp_ns(frame)
            self._publish(frame, stamp_ns)
            pinhole = known or uncalibrated(frame)
            self._info_out.publish(wire.camera_info(pinhole, self._frame_id, stamp_ns))
            if first:
                hint = "" if known else "; no intrinsics known: calibrate, and give the twin"
                self.get_logger().info(f"{self._settings.name}: {opened.text}{hint}")
                self._complaint, first = "", False
            self._report(opened.text, frame, stamp_ns)

    def _publish(self, frame: Frame, stamp_ns: int) -> None:
        """Publish a frame; what nobody listens to is not even turned into a message."""
        if self._image_out.get_subscription_count() > 0:
            self._image_out.publish(wire.image_message(frame.rgb, self._frame_id, stamp_ns))
        wanted = self._depth_out is not None and self._depth_out.get_subscription_count() > 0
        if wanted and frame.depth_mm is not None and self._depth_out is not None:
            self._depth_out.publish(wire.depth_message(frame.depth_mm, self._frame_id, stamp_ns))

    def _stamp_ns(self, frame: Frame) -> int:
        """Return the frame's capture time in ROS time (ns)."""
        if frame.clock != self._device_clock:
            self._mapping.restart()
            self._device_clock = frame.clock
        stamp_ns = frame.captured_ns
        if frame.clock != "ros":
            arrival_ns = int(self.get_clock().now().nanoseconds)
            stamp_ns = self._mapping.stamp_ns(frame.captured_ns, arrival_ns)
            stamp_ns -= round(self._settings.latency_s * 1e9)
        self._gaps.frame(frame.captured_ns)
        self._monitor.heard(topics.image(self._settings.name), stamp_ns)
        return stamp_ns

    def _report(self, text: str, frame: Frame, stamp_ns: int) -> None:
        """Say once a second how the camera is doing."""
        if time.monotonic() < self._report_due_s:
            return
        self._report_due_s = time.monotonic() + REPORT_S
        (meter,) = self._monitor.meters()
        values = {
            "camera": text,
            "rate_hz": f"{meter.rate_hz:.1f}",
            "frames": self._gaps.received,
            "missed": self._gaps.missed,
            "clock": frame.clock,
            "clock_skew_ppm": f"{self._mapping.skew * 1e6:.1f}",
            "clock_jumps": self._mapping.jumps,
            "age_ms": f"{(self.get_clock().now().nanoseconds - stamp_ns) / 1e6:.1f}",
        }
        if meter.slow:
            told = (
                f"{self._settings.name}: {meter.rate_hz:.1f} of {meter.expected_hz:.0f} frames a "
                "second. A long exposure, a shared USB port or a busy CPU may be why."
            )
            self._diagnostics.warn(told, **values)
        else:
            self._diagnostics.ok(f"{self._settings.name} streams", **values)

    def _complain(self, complaint: str) -> None:
        """Report a lost camera; the same words are logged once."""
        if complaint != self._complaint:
            self._complaint = complaint
            self._diagnostics.error(complaint)

    def _from_twin(self) -> CameraModel | None:
        if not self._settings.twin:
            return None
        return load_twin(self._settings.twin).camera(self._settings.name)


def uncalibrated(frame: Frame) -> Intrinsics:
    """Return what sensor_msgs/CameraInfo says of a camera that was not calibrated: all zeros."""
    height, width = frame.rgb.shape[:2]
    return Intrinsics(width=width, height=height, fx=0.0, fy=0.0, cx=0.0, cy=0.0)


def run() -> None:
    """Run the node."""
    main(CameraNode)


if __name__ == "__main__":
    run()
