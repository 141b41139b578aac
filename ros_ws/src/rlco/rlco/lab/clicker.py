"""Somebody in the lab who clicks in pictures: who sees what is there, and whose hand shakes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.box_pixels import box_corners
from rlco_calibration.clicking import Picture, pixels_of
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import project
from rlco_calibration.objects import Clicks
from rlco_calibration.twin import Twin
from rlco_datasets.frames import inverse

Array = NDArray[np.float64]

SHAKE_PX = 0.5
"""Of one coordinate of a click, in an enlarged picture."""
CORNERS = np.array([[x, y, z] for z in (0, 1) for x in (-1, 1) for y in (-1, 1)], float)


class LabClicker:
    """A `rlco_calibration.clicking.Clicker` who knows the lab's hidden twin, as eyes do."""

    def __init__(self, twin: Twin, *, seed: int) -> None:
        """Take the lab's hidden twin."""
        self._twin = twin
        self._rng = np.random.default_rng([seed, 0xC11C])

    def box(self, picture: Picture, frame: NDArray[np.uint8]) -> Clicks:
        """Return the corners of a box that are in sight, left to right; it is where it was put.

        Raises:
            CalibrationError: if it shows the camera one side only.
        """
        name, camera, yaw = picture.object, picture.camera, picture.yaw_rad
        size = np.array(self._twin.object_model(name).size_m)
        place = np.array([*picture.place_m, yaw])
        corners = box_corners(place, size, CORNERS, self._twin.table.height_m)
        eye = np.array(self._twin.camera(camera).position_m)
        turned = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        towards = turned.T @ (eye[:2] - place[:2])
        if (np.abs(towards) < size[:2] / 2).any():
            raise CalibrationError(f"{name!r} shows one side only: turn an edge to the camera")
        hidden = int(np.argmin(CORNERS[:4, :2] @ np.sign(towards)))
        exact = self._seen(camera, corners)
        order = sorted({0, 1, 2, 3} - {hidden}, key=lambda index: float(exact[index, 0]))
        pixels = exact + self._rng.normal(0, SHAKE_PX, exact.shape)
        return Clicks(
            table=pixels_of(pixels[order]), top=pixels_of(pixels[[4 + index for index in order]])
        )

    def marks(self, picture: Picture, frame: NDArray[np.uint8]) -> Array:
        """Return the corners of the region in which the lab's people start an object."""
        placements = self._twin.task(picture.task).placements
        place = next(item for item in placements if item.name == picture.object)
        height = self._twin.table.height_m
        corners = np.array([[x, y, height] for x in place.x_m for y in place.y_m])
        exact = self._seen(picture.camera, corners)
        return exact + self._rng.normal(0, SHAKE_PX, exact.shape)

    def _seen(self, camera: str, points_m: Array) -> Array:
        """Return the exact pixels `(N, 2)` of points `(N, 3)`, base frame."""
        model = self._twin.camera(camera)
        lens = model.lens
        T_camera_base = inverse(model.T_base_camera)
        return project(points_m @ T_camera_base[:3, :3].T + T_camera_base[:3, 3], lens.vector)
