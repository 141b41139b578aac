"""Where a camera is: on a stand beside the robot, or on its hand.

Every view i satisfies `T_camera_board = X^-1 A_i Y`. Fixed camera, board on the hand: X is
`T_base_camera`, Y is `T_tcp_board`, A_i is `T_base_tcp`. Camera on the hand, board fixed: X is
`T_tcp_camera`, Y is `T_base_board`, A_i is the inverse of `T_base_tcp`.

A constant error of the TCP cannot be seen here: it is the same as another Y (or X), and is taken up
by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import inverse, pose_matrix
from scipy.spatial.transform import Rotation

from rlco_calibration import closed_form
from rlco_calibration.board import Board, Detection
from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import Fit, solve
from rlco_calibration.lens import MODELS, Lens, board_pose, project

Array = NDArray[np.float64]
Setup = Literal["eye_to_hand", "eye_in_hand"]

MIN_VIEWS = 8
CORNER_PX = 0.5
"""Scale of the robust loss: a corner is found to a few tenths of a pixel."""
BEHIND_M = 0.02
"""A corner nearer than this is behind the camera, and no projection of it makes sense."""
BEHIND_PX = 1e3
LENS_UNITS = np.array([100.0, 100.0, 100.0, 100.0, 0.1, 0.1, 0.01, 0.01, 0.1])
"""Sizes of typical changes of (fx, fy, cx, cy, k1, k2, p1, p2, k3): they condition the search."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One capture: where the arm was `(4, 4)`, and the board's corners in the frame."""

    T_base_tcp: Array
    detection: Detection


@dataclass(frozen=True, kw_only=True)
class HandEye:
    """A measured camera pose.

    `X`, `Y` as the module says. `covariance` `(6, 6)` is of X: rotation vector (rad) and
    translation (m), a perturbation on the left, in X's parent frame about the camera's origin.
    """

    setup: Setup
    X: Array
    Y: Array
    covariance: Array
    mount_covariance: Array
    degrees: float
    lens: Lens
    lens_std: Array
    model: str
    rms_px: float
    view_rms_px: tuple[float, ...]
    left_out_px: tuple[float, ...]
    """For every view, the error of predicting it from all the others."""
    left_out_std_m: Array
    """Jackknife spread of the camera's position `(3,)`."""
    methods: dict[str, Array]
    """X by each closed-form method, without refinement."""
    start: str
    """The closed-form method that the refinement started from."""

    @property
    def position_std_m(self) -> Array:
        """Standard uncertainty of X's translation `(3,)`."""
        return np.sqrt(np.diag(self.covariance)[3:])

    @property
    def rotation_std_rad(self) -> Array:
        """Standard uncertainty of X's rotation `(3,)`, about the parent frame's axes."""
        return np.sqrt(np.diag(self.covariance)[:3])


class Problem:
    """The stacked corners of all views, and their reprojection residuals."""

    def __init__(
        self, board: Board, views: Sequence[View], setup: Setup, lens: Lens, model: str | None
    ) -> None:
        """Take the views; the lens is refined too if `model` names its distortion model."""
        poses = np.stack([view.T_base_tcp for view in views])
        self.A = poses if setup == "eye_to_hand" else inverse(poses)
        self.view = np.concatenate(
            [np.full(len(view.detection), i) for i, view in enumerate(views)]
        )
        self.points = np.concatenate([board.corners_m[v.detection.ids] for v in views])
        self.pixels = np.concatenate([v.detection.pixels for v in views])
        self.lens = lens
        self.free = () if model is None else (0, 1, 2, 3, *(4 + i for i in MODELS[model]))

    def camera_points(self, X: Array, Y: Array, scale: float = 1.0) -> Array:
        """Return the corners `(N, 3)` in the optical frame; `scale` enlarges the board."""
        poses = inverse(X) @ self.A @ Y
        chosen = poses[self.view]
        moved = np.einsum("nij,nj->ni", chosen[:, :3, :3], self.points * scale)
        return np.asarray(moved + chosen[:, :3, 3])

    def residuals(self, X: Array, Y: Array, lens: Array, scale: float = 1.0) -> Array:
        """Return `(2 N,)` pixels, seen minus predicted, u before v corner by corner."""
        points = self.camera_points(X, Y, scale)
        behind = points[:, 2] < BEHIND_M
        points[behind, 2] = BEHIND_M
        error = self.pixels - project(points, lens)
        error[behind] = BEHIND_PX
        return np.asarray(error.ravel())

    @property
    def groups(self) -> NDArray[np.int_]:
        """Which view each residual is of."""
        return np.repeat(self.view, 2)


def perturbed(pose: Array, delta: Array) -> Array:
    """Return `pose` turned by a rotation vector about its own origin and moved, in the parent."""
    turn = Rotation.from_rotvec(delta[:3]).as_matrix()
    return pose_matrix(pose[:3, 3] + delta[3:6], turn @ pose[:3, :3])


def closed_form_poses(
    board: Board, views: Sequence[View], setup: Setup, lens: Lens
) -> dict[str, tuple[Array, Array]]:
    """Return X and Y by every closed-form method, from each view's own board pose.

    Raises:
        CalibrationError: if the poses turn about too few axes for X to be found.
    """
    poses = np.stack([view.T_base_tcp for view in views])
    A = poses if setup == "eye_to_hand" else inverse(poses)
    C = np.stack(
        [board_pose(board.corners_m[v.detection.ids], v.detection.pixels, lens)[0] for v in views]
    )
    require_turns(A)
    motions = closed_form.pairs(A, C)
    return {
        name: _with_mount(method(*motions), A, C) for name, method in closed_form.METHODS.items()
    }


def _with_mount(X: Array, A: Array, C: Array) -> tuple[Array, Array]:
    """Return X and the Y that most views agree on."""
    mounts = inverse(A) @ X @ C
    rotation = Rotation.from_matrix(mounts[:, :3, :3]).mean().as_matrix()
    return X, pose_matrix(np.median(mounts[:, :3, 3], axis=0), rotation)


def solve_mount(board: Board, views: Sequence[View], lens: Lens, X: Array) -> Array:
    """Return Y `(4, 4)` where a fixed camera X is known: what most views agree on."""
    A = np.stack([view.T_base_tcp for view in views])
    C = np.stack(
        [board_pose(board.corners_m[v.detection.ids], v.detection.pixels, lens)[0] for v in views]
    )
    return _with_mount(X, A, C)[1]


def require_turns(A: Array, least_deg: float = 8.0) -> None:
    """Check that the hand turned about at least two different axes.

    Raises:
        CalibrationError: if the poses are all parallel, or turn about one axis only.
    """
    relative = A[:, :3, :3] @ np.swapaxes(A[:1, :3, :3], -1, -2)
    vectors = Rotation.from_matrix(relative).as_rotvec()
    spread = np.degrees(np.linalg.svd(vectors - vectors.mean(axis=0))[1] / np.sqrt(len(A)))
    if spread[0] < least_deg:
        raise CalibrationError(
            f"all poses of the hand are nearly parallel (they turn by {spread[0]:.1f} degrees "
            "rms): the camera's position cannot be found. Turn the hand by 20 to 40 degrees about "
            "different axes between captures."
        )
    if spread[1] < least_deg / 2:
        raise CalibrationError(
            "the hand turned about a single axis: the camera's position along it cannot be found. "
            f"Turn about a second axis too ({spread[0]:.1f} and {spread[1]:.1f} degrees rms)."
        )


def calibrate(
    board: Board,
    views: Sequence[View],
    lens: Lens,
    *,
    setup: Setup = "eye_to_hand",
    model: str | None = None,
) -> HandEye:
    """Return the camera's pose.

    Closed-form solutions start a joint refinement of X, Y and, where `model` names a distortion
    model, the lens, by reprojection with a robust loss. Each start is scored by its own
    reprojection error, and the best is refined.

    Raises:
        CalibrationError: if views are too few or all parallel, or the refinement does not converge.
    """
    views = [view for view in views if board.usable(view.detection)]
    if len(views) < MIN_VIEWS:
        raise CalibrationError(
            f"{len(views)} captures show the board, {MIN_VIEWS} are needed. Capture more poses."
        )
    starts = closed_form_poses(board, views, setup, lens)
    problem = Problem(board, views, setup, lens, model)
    costs = {
        name: float(np.median(np.abs(problem.residuals(X, Y, lens.vector))))
        for name, (X, Y) in starts.items()
    }
    start = min(costs, key=lambda name: costs[name])
    refined = refine(problem, *starts[start])
    if not refined.fit.converged:
        raise CalibrationError(
            "the refinement did not converge: the captures contradict one another. Check that "
            "board and camera did not move between captures."
        )
    errors = np.sum(refined.fit.residuals.reshape(-1, 2) ** 2, axis=-1)
    left_out, spread = _leave_one_out(problem, refined)
    lens_std = np.zeros(9)
    lens_std[list(problem.free)] = np.sqrt(np.diag(refined.covariance)[12:])
    return HandEye(
        setup=setup,
        X=refined.X,
        Y=refined.Y,
        covariance=refined.covariance[:6, :6],
        mount_covariance=refined.covariance[6:12, 6:12],
        degrees=refined.fit.degrees,
        lens=refined.lens,
        lens_std=lens_std,
        model=model or "fixed",
        rms_px=float(np.sqrt(errors.mean())),
        view_rms_px=tuple(
            float(np.sqrt(errors[problem.view == i].mean())) for i in range(len(views))
        ),
        left_out_px=left_out,
        left_out_std_m=spread,
        methods={name: pose for name, (pose, _) in starts.items()},
        start=start,
    )


@dataclass(frozen=True, kw_only=True)
class Refined:
    """The solution of a problem; `unpack` turns parameters `(P,)` into X, Y and the lens vector.

    Parameters: perturbations of X (6) and Y (6), changes of the free lens numbers, all in units of
    `units` (rad, m, px or 1).
    """

    X: Array
    Y: Array
    lens: Lens
    fit: Fit
    unpack: Callable[[Array], tuple[Array, Array, Array]]
    units: Array

    @property
    def covariance(self) -> Array:
        """Of the parameters, in rad, m, px and 1."""
        return self.fit.covariance * np.outer(self.units, self.units)


def refine(problem: Problem, X: Array, Y: Array) -> Refined:
    """Return X, Y and the lens with the smallest reprojection error, from a start."""
    base = problem.lens.vector
    free = list(problem.free)

    def unpack(x: Array) -> tuple[Array, Array, Array]:
        lens = base.copy()
        lens[free] += x[12:] * LENS_UNITS[free]
        return perturbed(X, x[:6]), perturbed(Y, x[6:12]), lens

    fit = solve(
        lambda x: problem.residuals(*unpack(x)),
        np.zeros(12 + len(free)),
        scale=CORNER_PX,
        groups=problem.groups,
    )
    new_X, new_Y, vector = unpack(fit.x)
    return Refined(
        X=new_X,
        Y=new_Y,
        lens=Lens.of(vector, problem.lens.size),
        fit=fit,
        unpack=unpack,
        units=np.concatenate([np.ones(12), LENS_UNITS[free]]),
    )


def _leave_one_out(problem: Problem, refined: Refined) -> tuple[tuple[float, ...], Array]:
    """Return the prediction error of every left-out view and the jackknife std of the position."""
    errors, positions = [], []
    without = refined.fit.left_out(problem.groups)
    for view, x in enumerate(without):
        X, Y, lens = refined.unpack(x)
        residual = problem.residuals(X, Y, lens).reshape(-1, 2)[problem.view == view]
        errors.append(float(np.sqrt(np.mean(np.sum(residual**2, axis=-1)))))
        positions.append(X[:3, 3])
    count = len(errors)
    spread = np.sqrt((count - 1) / count * np.sum((positions - np.mean(positions, axis=0)) ** 2, 0))
    return tuple(errors), np.asarray(spread)
