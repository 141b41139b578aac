"""Fits of things on the table to pixels of a measured camera, its own uncertainty included.

Two kinds of error meet: clicks or corners err by themselves, and average out; the camera's pose and
lens and the table's height err together in all of them, and do not. Both are propagated to first
order (JCGM 100:2008, "Guide to the expression of uncertainty in measurement", 5.1 and 5.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import inverse
from scipy.optimize import least_squares

from rlco_calibration.errors import CalibrationError
from rlco_calibration.handeye import perturbed
from rlco_calibration.lens import Lens, project

Array = NDArray[np.float64]

SHARED = 11
"""Errors that all pixels share: camera position and rotation (6), fx, fy, cx, cy (4), table (1)."""


@dataclass(frozen=True, kw_only=True)
class SceneView:
    """A measured camera over a measured table.

    `shared_std` `(11,)`: of the camera's position (m) and rotation (rad, about the base's axes),
    fx, fy, cx, cy (px), and the table's height (m).
    """

    lens: Lens
    T_base_camera: Array
    table_m: float
    shared_std: Array

    def pixels(self, points_m: Array, shared: Array) -> Array:
        """Return pixels `(N, 2)` of points `(N, 3)`, base frame, for shared errors `(11,)`.

        Points are those that the table carries: they rise with it.
        """
        pose = perturbed(self.T_base_camera, np.concatenate([shared[3:6], shared[:3]]))
        lens = self.lens.vector.copy()
        lens[:4] += shared[6:10]
        lifted = points_m + np.array([0.0, 0.0, shared[10]])
        T_camera_base = inverse(pose)
        return project(lifted @ T_camera_base[:3, :3].T + T_camera_base[:3, 3], lens)

    def rays(self, pixels: Array) -> Array:
        """Return unit directions `(N, 3)` in the base frame of pixels `(N, 2)`."""
        flat = cv2.undistortPoints(
            np.asarray(pixels, float).reshape(-1, 1, 2), self.lens.matrix, self.lens.coefficients
        ).reshape(-1, 2)
        rays = np.column_stack([flat, np.ones(len(flat))]) @ self.T_base_camera[:3, :3].T
        return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))

    def on_plane(self, pixels: Array, height_m: float) -> Array:
        """Return where the pixels `(N, 2)` meet a level plane, `(N, 3)` in the base frame.

        Raises:
            CalibrationError: if one looks at or over the horizon.
        """
        rays, eye = self.rays(pixels), self.T_base_camera[:3, 3]
        if (rays[:, 2] > -0.02).any() or eye[2] <= height_m:
            worst = int(np.argmax(rays[:, 2]))
            raise CalibrationError(
                f"pixel ({pixels[worst][0]:.0f}, {pixels[worst][1]:.0f}) does not look at the table"
            )
        return np.asarray(eye + rays * ((height_m - eye[2]) / rays[:, 2])[:, None])


@dataclass(frozen=True, kw_only=True)
class SceneFit:
    """Parameters `(P,)`, their covariance `(P, P)`, and pixel errors `(N, 2)` at the solution."""

    x: Array
    covariance: Array
    errors_px: Array
    degrees: float

    @property
    def std(self) -> Array:
        """Standard uncertainties `(P,)`."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def rms_px(self) -> float:
        """Root mean square distance in pixels."""
        return float(np.sqrt(np.mean(np.sum(self.errors_px**2, axis=-1))))


def fit(
    errors_px: Callable[[Array, Array], Array],
    start: Array,
    shared_std: Array,
    *,
    pixel_std: float,
) -> SceneFit:
    """Minimise pixel errors over parameters, and propagate both kinds of error.

    Args:
        errors_px: of parameters `(P,)` and shared errors `(S,)`: `(N, 2)`.
        start: where to begin.
        shared_std: `(S,)`.
        pixel_std: of one coordinate of one pixel; more is taken where the fit shows more.
    """
    zero = np.zeros(len(shared_std))
    found = least_squares(lambda x: errors_px(x, zero).ravel(), start, x_scale="jac")
    jacobian = found.jac
    free = max(len(found.fun) - len(start), 1)
    sigma = max(pixel_std, float(np.sqrt(found.fun @ found.fun / free)))
    bread = np.linalg.inv(jacobian.T @ jacobian)
    columns = []
    for index, std in enumerate(shared_std):
        moved = zero.copy()
        moved[index] = max(0.1 * std, 1e-7)
        change = (errors_px(found.x, moved) - errors_px(found.x, zero)).ravel()
        columns.append(change / moved[index] * std)
    pull = -bread @ jacobian.T @ np.stack(columns, axis=-1)
    return SceneFit(
        x=found.x,
        covariance=sigma**2 * bread + pull @ pull.T,
        errors_px=found.fun.reshape(-1, 2),
        degrees=float(free),
    )
