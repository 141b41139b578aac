"""Captures of a board with known truth: exact geometry, corner noise, and what may go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from rlco_calibration.board import Board, Detection
from rlco_calibration.handeye import View
from rlco_calibration.lens import Lens, project
from rlco_datasets.frames import inverse, look_at, pose_matrix
from scipy.spatial.transform import Rotation

TOOL_DOWN = np.diag([1.0, -1.0, -1.0])


def turn(x_deg, y_deg, z_deg):
    return Rotation.from_euler("xyz", [x_deg, y_deg, z_deg], degrees=True).as_matrix()


@dataclass(kw_only=True)
class SyntheticBench:
    """A camera beside a robot with a board in its hand (or, eye in hand, the other way round)."""

    setup: str = "eye_to_hand"
    seed: int = 0
    noise_px: float = 0.1
    pose_noise_m: float = 0.0
    board: Board = field(default_factory=Board)
    lens: Lens = field(
        default_factory=lambda: Lens(
            size=(640, 480),
            fx=605.0,
            fy=607.0,
            cx=322.0,
            cy=238.0,
            distortion=(0.05, -0.08, 0.001, -0.0005, 0.0),
        )
    )

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.rng = rng
        jitter = pose_matrix(rng.normal(0, 0.01, 3), Rotation.random(random_state=rng).as_matrix())
        jitter[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.05, 3)).as_matrix()
        if self.setup == "eye_to_hand":
            self.X = look_at((0.75, -0.6, 0.5), (0.5, -0.05, 0.25)) @ jitter
            facing = look_at((0.5, -0.05, 0.25), self.X[:3, 3])[:3, :3]
            mount = np.eye(4)
            mount[:3, :3] = TOOL_DOWN.T @ facing @ np.diag([1.0, -1.0, -1.0])
            mount[:3, 3] = mount[:3, :3] @ -self.board.centre_m + [0.0, 0.0, 0.05]
            self.Y = mount @ jitter
        else:
            self.X = pose_matrix([0.06, 0.0, -0.05], turn(0, 0, 90)) @ jitter
            self.Y = pose_matrix([0.4, -0.1, 0.0], turn(180, 0, 0)) @ jitter

    def tcp_pose(self):
        rng = self.rng
        tilt = turn(*rng.uniform(-30, 30, 3))
        if self.setup == "eye_to_hand":
            position = rng.uniform([0.42, -0.2, 0.15], [0.62, 0.1, 0.4])
        else:
            position = rng.uniform([0.42, -0.25, 0.35], [0.62, 0.0, 0.5])
        return pose_matrix(position, tilt @ TOOL_DOWN)

    def camera_board(self, T_base_tcp):
        A = T_base_tcp if self.setup == "eye_to_hand" else inverse(T_base_tcp)
        return inverse(self.X) @ A @ self.Y

    def detection(self, T_base_tcp, scale=1.0):
        pose = self.camera_board(T_base_tcp)
        points = self.board.corners_m * scale @ pose[:3, :3].T + pose[:3, 3]
        pixels = project(points, self.lens.vector)
        width, height = self.lens.size
        inside = (pixels > 4).all(-1) & (pixels < [width - 5, height - 5]).all(-1)
        seen = inside & (points[:, 2] > 0.1) & (pose[2, 2] > 0.2)
        noisy = pixels + self.rng.normal(0, self.noise_px, pixels.shape)
        return Detection(ids=np.flatnonzero(seen), pixels=noisy[seen], size=self.lens.size)

    def views(self, count, scale=1.0):
        found = []
        for _ in range(50 * count):
            pose = self.tcp_pose()
            detection = self.detection(pose, scale)
            if len(detection) >= 8:
                told = pose.copy()
                told[:3, 3] += self.rng.normal(0, self.pose_noise_m, 3)
                found.append(View(T_base_tcp=told, detection=detection))
            if len(found) == count:
                return found
        raise AssertionError(f"only {len(found)} of {count} views see the board")
