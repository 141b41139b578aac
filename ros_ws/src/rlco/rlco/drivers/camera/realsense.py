"""Intel RealSense cameras, live or from a recording, through the ordinary pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlco.drivers.camera.camera import (
    CameraLostError,
    CameraSetupError,
    Distortion,
    Frame,
    Intrinsics,
    Opened,
)
from rlco.parameters.camera import CameraSettings

MM_PER_M = 1000.0
NS_PER_MS, NS_PER_US = 1_000_000, 1000


def load_library() -> Any:
    """Return pyrealsense2.

    Raises:
        CameraSetupError: if it is not installed, saying how to.
    """
    try:
        import pyrealsense2
    except ImportError as error:
        raise CameraSetupError(
            f"the realsense driver needs pyrealsense2 ({error}). Type: pip install "
            "'rlco[realsense]', and on Debian or Ubuntu: apt-get install libusb-1.0-0"
        ) from error
    return pyrealsense2


class RealSenseCamera:
    """A RealSense by its serial number, or a .db3 recording of one."""

    def __init__(
        self, settings: CameraSettings, *, library: Any = None, sleep: Callable[[float], object]
    ) -> None:
        """Take the settings; `sleep` waits while the exposure settles."""
        self._settings = settings
        self._rs = library or load_library()
        self._sleep = sleep
        self._pipeline: Any = None
        self._align: Any = None
        self._mm_per_unit = 1.0
        self._last_number: int | None = None

    def open(self) -> Opened:
        """Start the pipeline; lock the exposure; read intrinsics and depth scale back."""
        rs, settings = self._rs, self._settings
        config, context = rs.config(), rs.context()
        if settings.recording:
            if not Path(settings.recording).is_file():
                raise CameraLostError(f"recording {settings.recording} is not there")
            config.enable_device_from_file(settings.recording, settings.repeat)
        elif settings.serial:
            config.enable_device(settings.serial)
        size = (settings.width, settings.height)
        config.enable_stream(rs.stream.color, *size, rs.format.rgb8, settings.rate_hz)
        if settings.depth:
            config.enable_stream(rs.stream.depth, *size, rs.format.z16, settings.rate_hz)
        pipeline = rs.pipeline(context)
        try:
            profile = pipeline.start(config)
        except RuntimeError as error:
            raise CameraLostError(self._why_not(context, error)) from error
        self._pipeline, self._last_number = pipeline, None
        device = profile.get_device()
        if settings.depth:
            self._align = rs.align(rs.stream.color)
            self._mm_per_unit = device.first_depth_sensor().get_depth_scale() * MM_PER_M
        if not settings.recording:
            set_exposure(rs, device.first_color_sensor(), settings, self._sleep)
        stream = profile.get_stream(rs.stream.color).as_video_stream_profile()
        return Opened(
            text=" ".join(
                device.get_info(item)
                for item in (
                    rs.camera_info.name,
                    rs.camera_info.serial_number,
                    rs.camera_info.firmware_version,
                )
                if device.supports(item)
            ),
            intrinsics=intrinsics_of(rs, stream.get_intrinsics()),
        )

    def read(self, timeout_s: float) -> Frame:
        """Return the next colour frame, with the depth frame that came with it."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                came, frames = self._pipeline.try_wait_for_frames(max(int(left_s * 1000), 1))
            except RuntimeError as error:
                raise CameraLostError(f"{self._name}: {error}") from error
            if not came:
                break
            colour = frames.get_color_frame()
            # the same colour frame comes again with a later depth frame
            if not colour or colour.get_frame_number() == self._last_number:
                continue
            if self._align is not None:
                frames = self._align.process(frames)
                colour = frames.get_color_frame()
                if not frames.get_depth_frame():
                    continue
            self._last_number = colour.get_frame_number()
            return self._frame(colour, frames.get_depth_frame() if self._align else None)
        raise CameraLostError(
            f"{self._name} gave no frame for {timeout_s:g} s. Check its cable and that it is on a "
            "USB 3 port of its own."
        )

    def close(self) -> None:
        """Stop the pipeline."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.stop()

    @property
    def _name(self) -> str:
        return (
            f"RealSense {self._settings.serial or self._settings.recording or self._settings.name}"
        )

    def _frame(self, colour: Any, depth: Any) -> Frame:
        captured_ns, clock = captured(self._rs, colour)
        depth_mm = None
        if depth is not None:
            units = np.asanyarray(depth.get_data())
            depth_mm = np.clip(np.rint(units * self._mm_per_unit), 0, 65535).astype(np.uint16)
        # a copy: the library takes its buffer back with the frame
        rgb = np.array(colour.get_data(), np.uint8)
        return Frame(rgb=rgb, depth_mm=depth_mm, captured_ns=captured_ns, clock=clock)

    def _why_not(self, context: Any, error: RuntimeError) -> str:
        serial = self._rs.camera_info.serial_number
        there = [device.get_info(serial) for device in context.query_devices()]
        settings = self._settings
        wanted = f"{settings.width}x{settings.height} at {settings.rate_hz} Hz"
        return f"{self._name} does not start with {wanted}: {error}. Connected: {there or 'none'}"


def captured(rs: Any, frame: Any) -> tuple[int, str]:
    """Return when a frame was captured and the clock's name.

    The sensor's own time stamp, the middle of the exposure, where the driver hands metadata on;
    else the frame's time stamp and its domain.
    """
    sensor = rs.frame_metadata_value.sensor_timestamp
    if frame.supports_frame_metadata(sensor):
        return int(frame.get_frame_metadata(sensor)) * NS_PER_US, "sensor"
    return round(frame.get_timestamp() * NS_PER_MS), str(frame.get_frame_timestamp_domain())


def intrinsics_of(rs: Any, found: Any) -> Intrinsics:
    """Return the library's intrinsics as rlco's.

    Raises:
        CameraSetupError: if the lens model is not the one that OpenCV and ROS share.
    """
    k1, k2, p1, p2, k3 = (float(value) for value in found.coeffs[:5])
    coefficients: Distortion = (k1, k2, p1, p2, k3)
    same_model = found.model in (rs.distortion.none, rs.distortion.brown_conrady)
    if any(coefficients) and not same_model:
        # with all coefficients zero, as on the D400 series, every model is the pinhole
        raise CameraSetupError(
            f"the camera's lens model is {found.model} with {coefficients}, which plumb_bob cannot "
            "say. Measure its intrinsics (docs/calibration.md) and use the uvc driver."
        )
    return Intrinsics(
        width=found.width,
        height=found.height,
        fx=found.fx,
        fy=found.fy,
        cx=found.ppx,
        cy=found.ppy,
        distortion=coefficients,
    )


def set_exposure(
    rs: Any, sensor: Any, settings: CameraSettings, sleep: Callable[[float], object]
) -> None:
    """Lock, fix or free exposure and white balance of a colour sensor, and check that it took.

    Raises:
        CameraSetupError: if the sensor reads back something else.
    """
    # a colour module counts in 100 us as UVC does; on cameras without one the stereo module is used
    unit_us = 1 if sensor.get_info(rs.camera_info.name) == "Stereo Module" else 100
    for automatic, value, wanted in (
        (rs.option.enable_auto_exposure, rs.option.exposure, settings.exposure_us / unit_us),
        (rs.option.enable_auto_white_balance, rs.option.white_balance, settings.white_balance_k),
    ):
        if not sensor.supports(automatic):
            continue
        sensor.set_option(automatic, 0 if settings.exposure == "fixed" else 1)
        if settings.exposure == "fixed":
            sensor.set_option(value, wanted)
            got = sensor.get_option(value)
            if abs(got - wanted) > 0.02 * wanted:
                raise CameraSetupError(
                    f"{value} was set to {wanted:g} but reads {got:g}; the sensor's range is "
                    f"{sensor.get_option_range(value)}"
                )
    if settings.exposure != "lock":
        return
    sleep(settings.settle_s)
    for automatic in (rs.option.enable_auto_exposure, rs.option.enable_auto_white_balance):
        if sensor.supports(automatic):
            sensor.set_option(automatic, 0)
            if sensor.get_option(automatic):
                raise CameraSetupError(f"{automatic} cannot be switched off on this sensor")
