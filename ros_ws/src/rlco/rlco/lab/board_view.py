"""A printed ChArUco board in the simulated lab's camera frames.

The board is drawn into the finished frame by tracing every part of a pixel through the lens (its
distortion included) onto the board, so that edges are blended as a sensor blends them; sensor noise
is added as the scene does. It is drawn over whatever is in front of it: the lab's people hold it
clear of the arm.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_calibration.board import Board
from rlco_calibration.lens import project
from rlco_calibration.parts import CameraModel, Lighting
from rlco_calibration.plan import nominal_lying, nominal_mount
from rlco_calibration.twin import Twin
from rlco_datasets.frames import inverse, pose_matrix
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]
UInt8Image = NDArray[np.uint8]

PARTS = 4
"""Samples per pixel along each axis."""
TEXTURE_PX = 80
"""Texture pixels per square."""
WHITE, BLACK = 0.92, 0.06
MARGIN_SQUARES = 0.2
"""White paper around the pattern, in squares."""
THICKNESS_M = 0.003
"""Of the board: what lies between its print and the table."""
CLAMP_M = np.array([0.5, -0.12, 0.28])
"""Where the hand is when the lab's people clamp the board so that it faces the camera."""


@dataclass(frozen=True, kw_only=True)
class Mounts:
    """Where the lab's people put the board: what a calibration has to find out."""

    T_tcp_board: Array
    T_base_board: Array


def drawn_mounts(twin: Twin, board: Board) -> Mounts:
    """Return mounts that are always the same for a lab, and known to nobody else."""
    rng = np.random.default_rng(zlib.crc32(twin.id.encode()))
    nominal = nominal_mount(board, twin.cameras[0].T_base_camera, CLAMP_M)
    off = pose_matrix(
        rng.uniform(-0.015, 0.015, 3), Rotation.from_rotvec(rng.normal(0, 0.06, 3)).as_matrix()
    )
    lying = nominal_lying(board, twin.table.height_m + THICKNESS_M)
    middle = lying[:3, :3] @ board.centre_m + lying[:3, 3]
    spin = Rotation.from_euler("z", rng.uniform(-0.4, 0.4)).as_matrix() @ lying[:3, :3]
    return Mounts(
        T_tcp_board=nominal @ off,
        T_base_board=pose_matrix(middle - spin @ board.centre_m, spin),
    )


class BoardView:
    """Draws one board into the frames of one camera."""

    def __init__(self, camera: CameraModel, lighting: Lighting, board: Board) -> None:
        """Trace the camera's rays once."""
        self._camera, self._light, self._board = camera, lighting, board
        self._lens = camera.lens
        self._texture = board.picture(TEXTURE_PX).astype(np.float32) / 255

    def draw(
        self,
        frame: UInt8Image,
        T_base_board: Array,
        rng: np.random.Generator,
        T_base_camera: Array | None = None,
    ) -> UInt8Image:
        """Return the frame `(H, W, 3)` with the board in it, seen from its printed side.

        `T_base_camera` is where a camera that moves is now.
        """
        here = self._camera.T_base_camera if T_base_camera is None else T_base_camera
        pose = inverse(here) @ T_base_board
        box = self._box(pose)
        if box is None:
            return frame
        left, top, right, bottom = box
        u = (np.arange(left * PARTS, right * PARTS) + 0.5) / PARTS - 0.5
        v = (np.arange(top * PARTS, bottom * PARTS) + 0.5) / PARTS - 0.5
        grid = np.stack(np.meshgrid(u, v), axis=-1)
        rays = cv2.undistortPoints(
            grid.reshape(-1, 1, 2), self._lens.matrix, self._lens.coefficients
        ).reshape(-1, 2)
        plane = np.linalg.inv(np.column_stack([pose[:3, 0], pose[:3, 1], pose[:3, 3]]))
        hit = np.column_stack([rays, np.ones(len(rays))]) @ plane.T
        squares = hit[:, :2] / hit[:, 2:] / self._board.square_m
        shape = (bottom - top, PARTS, right - left, PARTS)
        value, alpha = (part.reshape(shape).mean(axis=(1, 3)) for part in self._paper(squares))
        colour = (value / np.maximum(alpha, 1e-6))[..., None] * self._shade(T_base_board) * 255
        patch = frame[top:bottom, left:right].astype(np.float64)
        noisy = colour + rng.normal(0, self._camera.noise_std, patch.shape)
        blended = patch + alpha[..., None] * (noisy - patch)
        out = frame.copy()
        out[top:bottom, left:right] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
        return out

    def _paper(self, squares: Array) -> tuple[Array, Array]:
        """Return brightness and coverage of the paper at points `(N, 2)` in squares."""
        size = np.array([self._board.columns, self._board.rows])
        on_paper = ((squares > -MARGIN_SQUARES) & (squares < size + MARGIN_SQUARES)).all(axis=-1)
        on_print = ((squares >= 0) & (squares < size)).all(axis=-1)
        column, row = (np.where(on_print, squares[:, i], 0.0) * TEXTURE_PX for i in (0, 1))
        printed = self._texture[row.astype(int), column.astype(int)]
        value = np.where(on_print, BLACK + (WHITE - BLACK) * printed, WHITE)
        return value * on_paper, on_paper.astype(float)

    def _box(self, pose: Array) -> tuple[int, int, int, int] | None:
        """Return the part of the frame that the paper is in, or None if it is not seen."""
        width_m, height_m = self._board.size_m
        rim = MARGIN_SQUARES * self._board.square_m
        x, y = np.meshgrid(
            np.linspace(-rim, width_m + rim, 9), np.linspace(-rim, height_m + rim, 9)
        )
        points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1)
        seen = points @ pose[:3, :3].T + pose[:3, 3]
        if seen[:, 2].min() < 0.05 or pose[:3, 2] @ seen.mean(axis=0) <= 0:
            return None
        pixels = project(seen, self._lens.vector)
        width, height = self._lens.size
        left, top = np.clip(np.floor(pixels.min(axis=0)).astype(int) - 2, 0, [width, height])
        right, bottom = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 3, 0, [width, height])
        if right <= left or bottom <= top:
            return None
        return int(left), int(top), int(right), int(bottom)

    def _shade(self, T_base_board: Array) -> Array:
        """Return the light `(3,)` that the paper reflects."""
        direction = np.array(self._light.direction) / np.linalg.norm(self._light.direction)
        facing = max(float(direction @ T_base_board[:3, 2]), 0.0)
        light = np.array(self._light.ambient) + np.array(self._light.directional) * facing
        return np.asarray(np.minimum(light, 1.05))
