"""Intrinsics of one camera from views of the board: coverage, outliers, model choice, spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.board import MIN_CORNERS, Board, Detection
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import MODELS, Lens, board_pose, project

Array = NDArray[np.float64]

MIN_VIEWS = 8
OUTLIER_SIGMAS = 5.0
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How well views cover a camera: what part of the frame, how much tilt, how much distance."""

    cells: NDArray[np.bool_]
    """`(3, 4)` which parts of the frame had corners."""
    tilts_deg: tuple[float, ...]
    """Angle between the board's normal and the line of sight, per view."""
    directions: int
    """In how many of four directions the board was tilted by 15 degrees or more."""

    @property
    def fraction(self) -> float:
        """Which part of the frame was covered."""
        return float(self.cells.mean())

    def advice(self) -> list[str]:
        """Return what views are still missing, as sentences; none if nothing is."""
        rows, columns = (
            ("top", "middle", "bottom"),
            ("left", "centre left", "centre right", "right"),
        )
        missing = [
            f"{rows[r]} {columns[c]}" for r in range(3) for c in range(4) if not self.cells[r, c]
        ]
        lines = []
        if self.fraction < 0.75:
            lines.append(f"hold the board in these parts of the frame: {', '.join(missing)}")
        if self.directions < 3:
            lines.append(
                "tilt the board by 20 to 40 degrees to the left, right, front and back: so far "
                f"{self.directions} of 4 directions"
            )
        return lines


def coverage(board: Board, views: Sequence[Detection], lens: Lens) -> Coverage:
    """Return how `views` cover the frame."""
    cells = np.zeros((3, 4), bool)
    tilts, directions = [], set()
    for view in views:
        width, height = view.size
        rows = np.clip(view.pixels[:, 1] / height * 3, 0, 2.999).astype(int)
        columns = np.clip(view.pixels[:, 0] / width * 4, 0, 3.999).astype(int)
        cells[rows, columns] = True
        pose, _ = board_pose(board.corners_m[view.ids], view.pixels, lens)
        sight = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
        normal = pose[:3, 2] * np.sign(pose[:3, 2] @ sight)
        tilt = float(np.degrees(np.arccos(np.clip(normal @ sight, -1, 1))))
        tilts.append(tilt)
        if tilt > 15:
            sideways = normal - (normal @ sight) * sight
            directions.add(int(np.degrees(np.arctan2(sideways[1], sideways[0])) // 90))
    return Coverage(cells=cells, tilts_deg=tuple(tilts), directions=len(directions))


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """A measured lens.

    `std` is that of (fx, fy, cx, cy, k1, k2, p1, p2, k3), with the distance to models that suffice
    as well; `scores_px` the held-out error of every distortion model; `view_rms_px` the error of
    each view kept, by its index in `views`.
    """

    lens: Lens
    model: str
    std: Array
    scores_px: dict[str, float]
    rms_px: float
    views: tuple[int, ...]
    view_rms_px: tuple[float, ...]
    rejected_views: tuple[int, ...]
    rejected_corners: int
    coverage: Coverage


def calibrate(
    board: Board, views: Sequence[Detection], *, models: Sequence[str] = tuple(MODELS)
) -> Intrinsics:
    """Return the lens that explains `views`, with the simplest distortion model that suffices.

    Corners, and views as a whole, that lie far outside the spread of the others are left out. The
    model is chosen by cross-validation over views: the pose of a held-out view is found from half
    of its corners, and the other half is predicted.

    Raises:
        CalibrationError: if there are too few views, or all are parallel.
    """
    usable = [(i, view) for i, view in enumerate(views) if board.usable(view)]
    if len(usable) < MIN_VIEWS:
        raise CalibrationError(
            f"{len(usable)} of {len(views)} views show at least {MIN_CORNERS} corners of the "
            f"board, {MIN_VIEWS} are needed. Capture more, with the board larger in the frame."
        )
    size = views[0].size
    kept, lens, rejected_views, rejected_corners = _reject(board, usable, size)
    _require_tilt(board, [view for _, view in kept], lens)
    detections = [view for _, view in kept]
    scores = {model: _score(board, detections, model) for model in models}
    best = min(score for score, _ in scores.values())
    allowance = next(error for score, error in scores.values() if score == best)
    model = next(name for name in models if scores[name][0] <= best + allowance)
    lens, std, per_view = _fit(board, detections, model)
    # A simpler model that predicts as well may still sit elsewhere: its choice is uncertain too.
    rivals = [name for name in models if scores[name][0] <= best + 2 * allowance and name != model]
    shifts = [_fit(board, detections, name)[0].vector - lens.vector for name in rivals]
    std = np.sqrt(std**2 + np.max(np.square([np.zeros(9), *shifts]), axis=0))
    return Intrinsics(
        lens=lens,
        model=model,
        std=std,
        scores_px={name: score for name, (score, _) in scores.items()},
        rms_px=float(np.sqrt(np.mean(np.square(per_view)))),
        views=tuple(i for i, _ in kept),
        view_rms_px=tuple(per_view.tolist()),
        rejected_views=rejected_views,
        rejected_corners=rejected_corners,
        coverage=coverage(board, detections, lens),
    )


def _flags(model: str) -> int:
    free = MODELS[model]
    flags = 0
    for index, flag in ((0, cv2.CALIB_FIX_K1), (1, cv2.CALIB_FIX_K2), (4, cv2.CALIB_FIX_K3)):
        flags |= 0 if index in free else flag
    return flags | (0 if 2 in free else cv2.CALIB_ZERO_TANGENT_DIST)


def _fit(board: Board, views: Sequence[Detection], model: str) -> tuple[Lens, Array, Array]:
    """Return lens, std `(9,)` and rms per view, with OpenCV's bundle adjustment."""
    points = [board.corners_m[view.ids].astype(np.float32) for view in views]
    pixels = [view.pixels.astype(np.float32) for view in views]
    size = views[0].size
    _, matrix, distortion, _, _, deviations, _, errors = cv2.calibrateCameraExtended(
        points, pixels, size, None, None, flags=_flags(model)
    )
    vector = np.concatenate(
        [[matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]], np.ravel(distortion)[:5]]
    )
    return Lens.of(vector, size), np.ravel(deviations)[:9], np.ravel(errors)


def _reject(
    board: Board, usable: list[tuple[int, Detection]], size: tuple[int, int]
) -> tuple[list[tuple[int, Detection]], Lens, tuple[int, ...], int]:
    """Leave out corners and views that do not belong, in up to three rounds."""
    kept, rejected_views, rejected_corners = usable, [], 0
    lens = Lens.nominal(size)
    for _ in range(3):
        lens, _, _ = _fit(board, [view for _, view in kept], "k1k2")
        errors = [_corner_errors(board, view, lens) for _, view in kept]
        typical = np.median(np.concatenate(errors)) / 0.6745 / 1.2
        limit = max(OUTLIER_SIGMAS * typical, 0.3)
        view_limit = max(4 * np.median([np.median(e) for e in errors]), 0.3)
        remaining: list[tuple[int, Detection]] = []
        for (index, view), error in zip(kept, errors, strict=True):
            good = error < limit
            if np.median(error) > view_limit or not board.usable(view.only(good)):
                rejected_views.append(index)
            else:
                remaining.append((index, view.only(good)))
                rejected_corners += int((~good).sum())
        changed = sum(len(v) for _, v in remaining) != sum(len(v) for _, v in kept)
        kept = remaining
        if len(kept) < MIN_VIEWS:
            raise CalibrationError(
                f"only {len(kept)} views agree with one another, {MIN_VIEWS} are needed. Is the "
                "board flat and stiff, and were the frames sharp?"
            )
        if not changed:
            break
    return kept, lens, tuple(rejected_views), rejected_corners


def _corner_errors(board: Board, view: Detection, lens: Lens) -> Array:
    """Return each corner's error, px; the pose is that of the corners that agree with the most."""
    error = np.zeros(len(view))
    trusted = np.ones(len(view), bool)
    for _ in range(3):
        pose, _ = board_pose(board.corners_m[view.ids[trusted]], view.pixels[trusted], lens)
        points = board.corners_m[view.ids] @ pose[:3, :3].T + pose[:3, 3]
        error = np.asarray(np.linalg.norm(project(points, lens.vector) - view.pixels, axis=-1))
        agree = error <= 3 * np.median(error)
        if np.array_equal(agree, trusted) or not board.usable(view.only(agree)):
            break
        trusted = agree
    return error


def _require_tilt(board: Board, views: Sequence[Detection], lens: Lens) -> None:
    normals = np.stack(
        [board_pose(board.corners_m[v.ids], v.pixels, lens)[0][:3, 2] for v in views]
    )
    spread = float(np.degrees(np.arccos(np.clip((normals @ normals.T).min(), -1, 1))))
    if spread < 10:
        raise CalibrationError(
            f"all views show the board at the same tilt (within {spread:.1f} degrees): the focal "
            "length cannot be told from the distance. Tilt the board by 20 to 40 degrees in "
            "different directions and capture again."
        )


def _score(board: Board, views: Sequence[Detection], model: str) -> tuple[float, float]:
    """Return the held-out error of a model and its standard error over views, px."""
    folds = np.arange(len(views)) % FOLDS
    held_out = []
    for fold in range(FOLDS):
        lens, _, _ = _fit(board, [v for v, f in zip(views, folds, strict=True) if f != fold], model)
        for view in (v for v, f in zip(views, folds, strict=True) if f == fold):
            half = np.arange(len(view)) % 2 == 0
            for known, hidden in ((half, ~half), (~half, half)):
                if not board.spans(view.ids[known]):
                    continue
                pose, _ = board_pose(board.corners_m[view.ids[known]], view.pixels[known], lens)
                points = board.corners_m[view.ids[hidden]] @ pose[:3, :3].T + pose[:3, 3]
                error = project(points, lens.vector) - view.pixels[hidden]
                held_out.append(float(np.sqrt(np.mean(np.sum(error**2, axis=-1)))))
    scores = np.array(held_out)
    return float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(len(scores)) / 4)


def compare(measured: Lens, std: Sequence[float], factory: Lens) -> list[str]:
    """Return how a measured lens differs from the camera's factory values, in words."""
    lines = []
    for name, ours, theirs, sigma in zip(
        ("fx", "fy", "cx", "cy"), measured.vector, factory.vector, std, strict=False
    ):
        verdict = "agrees" if abs(ours - theirs) < 3 * max(sigma, 1e-9) else "differs"
        lines.append(
            f"{name}: measured {ours:.2f} +- {sigma:.2f} px, factory {theirs:.2f} px: {verdict} "
            f"({ours - theirs:+.2f} px, {100 * (ours / theirs - 1):+.2f}%)"
        )
    return lines
