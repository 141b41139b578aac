"""UVC cameras (webcams, most industrial USB cameras) and video files, through OpenCV.

V4L2 stamps a buffer at the start of its transfer by the kernel's monotonic clock, which OpenCV
gives as the position in milliseconds; it is mapped to ROS time like any device's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rlco.drivers.camera.camera import CameraLostError, CameraSetupError, Frame, Opened
from rlco.parameters.camera import CameraSettings

NS_PER_MS = 1_000_000
MANUAL, AUTOMATIC = 1, 3
"""V4L2_EXPOSURE_MANUAL and V4L2_EXPOSURE_APERTURE_PRIORITY, what UVC cameras have."""
UNIT_US = 100
"""V4L2 counts exposure in 100 us."""


class UvcCamera:
    """A camera by its device path, or a video file played at its own rate."""

    def __init__(
        self,
        settings: CameraSettings,
        *,
        sleep: Callable[[float], object],
        capture: Callable[[str, int], Any] = cv2.VideoCapture,
    ) -> None:
        """Take the settings; `sleep` waits for the exposure to settle, and between file frames."""
        self._settings = settings
        self._sleep = sleep
        self._make = capture
        self._capture: Any = None
        self._is_file = False
        self._due_s = 0.0

    def open(self) -> Opened:
        """Open the device, set format and exposure, and check both."""
        settings, path = self._settings, Path(self._settings.device)
        self._is_file = path.is_file()
        if not self._is_file and not path.exists():
            raise CameraLostError(
                f"camera device {path} is not there. See `ls -l /dev/v4l/by-id` and the cable."
            )
        self._capture = self._make(str(path), cv2.CAP_ANY if self._is_file else cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraLostError(
                f"camera device {path} cannot be opened. Is another program using it, and is this "
                "user in the group video?"
            )
        if not self._is_file:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
            self._capture.set(cv2.CAP_PROP_FPS, settings.rate_hz)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
        got = tuple(
            int(self._capture.get(item))
            for item in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if got != (settings.width, settings.height):
            raise CameraSetupError(
                f"{path} gives {got[0]}x{got[1]}, not {settings.width}x{settings.height}. See "
                f"`v4l2-ctl --list-formats-ext -d {path}` for what it can."
            )
        if not self._is_file:
            self._set_exposure()
        self._due_s = time.monotonic()
        return Opened(text=f"{path} {got[0]}x{got[1]} through {self._capture.getBackendName()}")

    def read(self, timeout_s: float) -> Frame:
        """Return the next frame; a file's when it is due."""
        if self._is_file:
            self._wait_until_due()
        came, bgr = self._capture.read()  # OpenCV's own timeout is 10 s
        if not came and self._is_file and self._settings.repeat:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            came, bgr = self._capture.read()
        arrival_ns = time.monotonic_ns()
        if not came:
            raise CameraLostError(f"{self._settings.device} gave no frame. Check its cable.")
        captured_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * NS_PER_MS)
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        if self._is_file:
            return Frame(rgb=rgb, captured_ns=captured_ns, clock="file")
        if captured_ns <= 0:  # a driver without time stamps
            return Frame(rgb=rgb, captured_ns=arrival_ns, clock="arrival")
        return Frame(rgb=rgb, captured_ns=captured_ns, clock="v4l2")

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _wait_until_due(self) -> None:
        self._due_s += 1.0 / self._settings.rate_hz
        pause_s = self._due_s - time.monotonic()
        if pause_s > 0:
            self._sleep(pause_s)
        else:
            self._due_s = time.monotonic()

    def _set_exposure(self) -> None:
        settings, capture = self._settings, self._capture
        manual = settings.exposure == "fixed"
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL if manual else AUTOMATIC)
        capture.set(cv2.CAP_PROP_AUTO_WB, 0 if manual else 1)
        if manual:
            capture.set(cv2.CAP_PROP_EXPOSURE, settings.exposure_us / UNIT_US)
            capture.set(cv2.CAP_PROP_WB_TEMPERATURE, settings.white_balance_k)
        elif settings.exposure == "lock":
            until_s = time.monotonic() + settings.settle_s
            while time.monotonic() < until_s:
                capture.read()  # cameras settle only while they stream
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL)
            capture.set(cv2.CAP_PROP_AUTO_WB, 0)
        if settings.exposure != "auto" and capture.get(cv2.CAP_PROP_AUTO_EXPOSURE) == AUTOMATIC:
            raise CameraSetupError(
                f"{settings.device} keeps its automatic exposure. Choose exposure: auto, or lock "
                f"it with `v4l2-ctl -d {settings.device} -c auto_exposure=1`."
            )
