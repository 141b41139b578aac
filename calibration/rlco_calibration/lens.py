"""A camera's lens: pinhole with OpenCV's five distortion coefficients, and projecting through it.

Brown's model as OpenCV writes it (calib module documentation): radial k1, k2, k3 and tangential
p1, p2. Pixel centres are at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MODELS: dict[str, tuple[int, ...]] = {
    "pinhole": (),
    "k1": (0,),
    "k1k2": (0, 1),
    "k1k2p1p2": (0, 1, 2, 3),
    "full": (0, 1, 2, 3, 4),
}
"""Distortion models, simplest first: which of (k1, k2, p1, p2, k3) are free."""


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Focal lengths and centre (px) and distortion (k1, k2, p1, p2, k3) of a `size` frame."""

    size: tuple[int, int]
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Check the focal lengths."""
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"lens: focal lengths must be positive, got {self.fx}, {self.fy}")

    @property
    def matrix(self) -> Array:
        """The `(3, 3)` pinhole matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)

    @property
    def coefficients(self) -> Array:
        """The distortion `(5,)`."""
        return np.array(self.distortion, float)

    @property
    def vector(self) -> Array:
        """(fx, fy, cx, cy, k1, k2, p1, p2, k3)."""
        return np.array([self.fx, self.fy, self.cx, self.cy, *self.distortion])

    @classmethod
    def of(cls, vector: Array, size: tuple[int, int]) -> Lens:
        """Return the lens of (fx, fy, cx, cy, k1, k2, p1, p2, k3)."""
        fx, fy, cx, cy, k1, k2, p1, p2, k3 = (float(value) for value in vector)
        return cls(size=size, fx=fx, fy=fy, cx=cx, cy=cy, distortion=(k1, k2, p1, p2, k3))

    @classmethod
    def nominal(cls, size: tuple[int, int], field_deg: float = 60.0) -> Lens:
        """Return an ideal lens of a horizontal field of view: a start for iterations."""
        width, height = size
        focal = width / 2 / float(np.tan(np.radians(field_deg) / 2))
        return cls(size=size, fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2)


def project(points_m: Array, lens: Array) -> Array:
    """Return pixels `(..., 2)` of points `(..., 3)` in the optical frame.

    `lens` is `Lens.vector`. Points behind the camera come out as numbers that mean nothing.
    """
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = lens
    x, y = points_m[..., 0] / points_m[..., 2], points_m[..., 1] / points_m[..., 2]
    square = x * x + y * y
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
    v = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
    return np.stack([fx * u + cx, fy * v + cy], axis=-1)


def board_pose(points_m: Array, pixels: Array, lens: Lens) -> tuple[Array, float]:
    """Return `T_camera_board` `(4, 4)` of one view and its reprojection error (px, rms).

    Of the two poses that a flat board nearly allows, the one that fits better.
    """
    for method in (cv2.SOLVEPNP_IPPE, cv2.SOLVEPNP_SQPNP):
        _, rvecs, tvecs, errors = cv2.solvePnPGeneric(
            points_m, pixels, lens.matrix, lens.coefficients, flags=method
        )
        if len(rvecs):  # the first gives up where most of the corners lie in one line
            break
    best = int(np.argmin(np.ravel(errors)))
    rvec, tvec = cv2.solvePnPRefineLM(
        points_m, pixels, lens.matrix, lens.coefficients, rvecs[best], tvecs[best]
    )
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(rvec)[0]
    pose[:3, 3] = np.ravel(tvec)
    seen = project(points_m @ pose[:3, :3].T + pose[:3, 3], lens.vector)
    return pose, float(np.sqrt(np.mean(np.sum((seen - pixels) ** 2, axis=-1))))
