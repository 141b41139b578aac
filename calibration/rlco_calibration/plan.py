"""Which poses of the hand make hand-eye calibration well conditioned.

Candidates are drawn in the workspace and kept where the whole board would be in the frame; then
poses are chosen greedily so that the information about camera pose, board mount, focal length and
centre grows most (D-optimal design).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import inverse, look_at, pose_matrix
from scipy.spatial.transform import Rotation

from rlco_calibration.board import Board
from rlco_calibration.errors import CalibrationError
from rlco_calibration.handeye import Setup, perturbed
from rlco_calibration.lens import Lens, project
from rlco_calibration.motion import TOOL_DOWN
from rlco_calibration.parts import Workspace

Array = NDArray[np.float64]

CANDIDATES = 300
MARGIN_PX = 6.0
SMALLEST_SQUARE_PX = 14.0
MAX_TILT_RAD = 0.55
LAID_M = (0.52, -0.08)
"""Where people are asked to lay the board for a camera on the hand: its middle, base frame."""
SHARES = (0.35, 0.75)
"""How much of the frame's width the board is to take up in a camera on the hand."""
OVER_BOARD_M = 0.1
"""How far above a board on the table the TCP stays."""
UNITS = np.array([0.01] * 3 + [0.01] * 3 + [0.01] * 3 + [0.01] * 3 + [10.0] * 3)
"""What is thought to be unknown: 0.6 degrees, 1 cm, 10 px."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What is roughly known before: lens, X and Y as in `handeye`."""

    setup: Setup
    lens: Lens
    X: Array
    Y: Array
    centre_m: Array = field(default_factory=lambda: np.array([0.55, -0.1, 0.25]))


def nominal_mount(board: Board, T_base_camera: Array, centre_m: Array) -> Array:
    """Return the `T_tcp_board` that faces the camera from the hand at `centre_m`, tool down.

    This is how the operator is asked to clamp the board.
    """
    facing = look_at(centre_m, T_base_camera[:3, 3])[:3, :3]
    turned = TOOL_DOWN.T @ facing @ np.diag([1.0, -1.0, -1.0])
    # the camera sees the board along its +z, which points away from the camera
    mount = pose_matrix(np.zeros(3), turned)
    mount[:3, 3] = np.array([0.0, 0.0, 0.05]) - turned @ board.centre_m
    return mount


def nominal_lying(board: Board, height_m: float) -> Array:
    """Return the `T_base_board` of a board that lies on a table, print up, middle at `LAID_M`."""
    turned = np.diag([1.0, -1.0, -1.0])
    return pose_matrix(np.array([*LAID_M, height_m]) - turned @ board.centre_m, turned)


def suggest(
    board: Board, guess: Guess, workspace: Workspace, count: int, rng: np.random.Generator
) -> list[Array]:
    """Return `count` poses `T_base_tcp` `(4, 4)` of the hand, the most telling first.

    Raises:
        CalibrationError: if too few poses in the workspace show the board to the camera.
    """
    candidates, information = [], []
    for _ in range(20 * CANDIDATES):
        pose = _draw(workspace, rng)
        if guess.setup == "eye_in_hand":
            pose = _over_board(board, guess, pose, rng)
        inside = guess.setup == "eye_to_hand" or _inside(guess, workspace, pose)
        columns = _jacobian(board, guess, pose) if inside else None
        if columns is not None:
            candidates.append(pose)
            information.append(columns.T @ columns)
        if len(candidates) == CANDIDATES:
            break
    if len(candidates) < 2 * count:
        raise CalibrationError(
            f"only {len(candidates)} of {20 * CANDIDATES} poses in the workspace show the whole "
            "board to the camera. Check the rough camera pose; mount the board facing it, or lay "
            "it where the hand can look down at it."
        )
    total = np.eye(len(UNITS))
    stack = np.stack(information)
    chosen: list[int] = []
    for _ in range(count):
        gains = np.linalg.slogdet(total + stack)[1]
        gains[chosen] = -np.inf
        best = int(np.argmax(gains))
        chosen.append(best)
        total = total + stack[best]
    return [candidates[i] for i in chosen]


def short_tour(poses: list[Array], start_m: Array) -> list[Array]:
    """Return the poses ordered so that each is followed by the nearest of those left."""
    left, tour, here = list(poses), [], np.asarray(start_m, float)
    while left:
        nearest = min(range(len(left)), key=lambda i: np.linalg.norm(left[i][:3, 3] - here))
        tour.append(left.pop(nearest))
        here = tour[-1][:3, 3]
    return tour


def _draw(workspace: Workspace, rng: np.random.Generator) -> Array:
    low, high = np.array(workspace.low_m), np.array(workspace.high_m)
    low[2] = max(low[2], high[2] - 0.4)
    tilt = Rotation.from_euler("xy", rng.uniform(-MAX_TILT_RAD, MAX_TILT_RAD, 2))
    spin = Rotation.from_euler("z", rng.uniform(-0.6, 0.6))
    rotation = (tilt * spin).as_matrix() @ TOOL_DOWN
    return pose_matrix(rng.uniform(low + 0.03, high - 0.03), rotation)


def _over_board(board: Board, guess: Guess, pose: Array, rng: np.random.Generator) -> Array:
    """Return a pose turned like `pose`, from which a camera on the hand looks at the board."""
    middle = guess.Y[:3, :3] @ board.centre_m + guess.Y[:3, 3]
    middle[:2] += rng.normal(0, board.square_m / 2, 2)
    camera = pose[:3, :3] @ guess.X[:3, :3]
    share = rng.uniform(*SHARES)
    distance_m = board.size_m[0] * guess.lens.fx / (share * guess.lens.size[0])
    return pose_matrix(middle - distance_m * camera[:, 2], camera) @ inverse(guess.X)


def _inside(guess: Guess, workspace: Workspace, pose: Array) -> bool:
    """Say whether the TCP is inside the workspace, and well above a board on the table."""
    low, high = np.array(workspace.low_m) + 0.03, np.array(workspace.high_m) - 0.03
    low[2] = max(low[2], guess.Y[2, 3] + OVER_BOARD_M)
    return bool((pose[:3, 3] >= low).all() and (pose[:3, 3] <= high).all())


def _jacobian(board: Board, guess: Guess, pose: Array) -> Array | None:
    """Return d pixels / d unknowns `(2 N, 15)` in `UNITS`, or None if the board is not in view."""
    A = pose if guess.setup == "eye_to_hand" else inverse(pose)

    def pixels(delta: Array) -> Array:
        X, Y = perturbed(guess.X, delta[:6]), perturbed(guess.Y, delta[6:12])
        camera_board = inverse(X) @ A @ Y
        points = board.corners_m @ camera_board[:3, :3].T + camera_board[:3, 3]
        lens = guess.lens.vector.copy()
        lens[:2] += delta[12]
        lens[2:4] += delta[13:]
        return project(points, lens)

    camera_board = inverse(guess.X) @ A @ guess.Y
    points = board.corners_m @ camera_board[:3, :3].T + camera_board[:3, 3]
    if points[:, 2].min() < 0.15:
        return None
    sight = points.mean(axis=0) / np.linalg.norm(points.mean(axis=0))
    if camera_board[:3, 2] @ sight < np.cos(np.radians(60)):
        return None
    seen = project(points, guess.lens.vector)
    width, height = guess.lens.size
    square = guess.lens.fx * board.square_m / points[:, 2].max()
    if square * (camera_board[:3, 2] @ sight) < SMALLEST_SQUARE_PX:
        return None
    border = 1.2 * square
    if (seen < border).any() or (seen > np.array([width, height]) - border).any():
        return None
    zero = np.zeros(len(UNITS))
    base = pixels(zero)
    columns = []
    for index, unit in enumerate(UNITS):
        delta = zero.copy()
        delta[index] = 1e-4 * unit
        columns.append(((pixels(delta) - base) / 1e-4).ravel())
    return np.stack(columns, axis=-1) / 0.2
