"""What a camera is to rlco: something that gives frames with the time they were captured at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Distortion = tuple[float, float, float, float, float]


class CameraLostError(RuntimeError):
    """The camera cannot be opened or gives no frames; the message says what to check."""


class CameraSetupError(RuntimeError):
    """The camera is there but cannot do what the settings ask; trying again does not help."""


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """Pinhole intrinsics (pixels) of a frame of `width` x `height`.

    `distortion` is OpenCV's (k1, k2, p1, p2, k3), which ROS calls plumb_bob.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Distortion = (0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """The `(3, 3)` pinhole matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What is known of a camera once it is open; `text` names model, serial and firmware."""

    text: str
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One captured frame.

    Attributes:
        rgb: `(H, W, 3)` uint8.
        depth_mm: `(H, W)` uint16 millimetres, aligned to `rgb`, zero where unknown; or None.
        captured_ns: When it was captured, by `clock`.
        clock: "ros" if `captured_ns` is ROS time already, else the name of a clock of the device;
            times of different clocks have nothing to do with each other.
    """

    rgb: NDArray[np.uint8]
    captured_ns: int
    clock: str
    depth_mm: NDArray[np.uint16] | None = None


class Camera(Protocol):
    """A source of frames. One thread opens, reads and closes it."""

    def open(self) -> Opened:
        """Connect and start streaming.

        Raises:
            CameraLostError: if it is not there.
            CameraSetupError: if it cannot do what is asked.
        """

    def read(self, timeout_s: float) -> Frame:
        """Return the next frame, never the same one twice.

        Raises:
            CameraLostError: if none comes in time; the camera is then to be closed.
        """

    def close(self) -> None:
        """Stop streaming and let the device go; does no harm when it is not open."""
