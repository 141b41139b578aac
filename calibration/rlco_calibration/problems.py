"""What is wrong with captures, by name. Nothing is deleted: a bad capture is named and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import inverse

from rlco_calibration.board import Board
from rlco_calibration.captures import Capture
from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import solve
from rlco_calibration.handeye import (
    MIN_VIEWS,
    Problem,
    Setup,
    View,
    closed_form_poses,
    perturbed,
    refine,
)
from rlco_calibration.lens import Lens, board_pose

Array = NDArray[np.float64]

BLURRED_PX = 4.0
MOVING_M = 0.001
APART_NS = 50_000_000
FURTHEST_M = 3.0
INCONSISTENT = 2.5
"""Times the error of single views that all views together may have."""
WRONG_SCALE = 0.01


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that is wrong. `captures` names those concerned; none means all of them."""

    name: str
    message: str
    captures: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the name, the captures and the message."""
        where = f" [{', '.join(self.captures)}]" if self.captures else ""
        return f"{self.name}{where}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Examined:
    """The captures that can be used, by name, and what is wrong with the others."""

    names: tuple[str, ...]
    views: tuple[View, ...]
    troubles: tuple[Trouble, ...]


def examine(board: Board, captures: Sequence[Capture]) -> Examined:
    """Find the board in every capture and name what is wrong with single ones.

    Raises:
        CalibrationError: if the poses cannot be in metres.
    """
    far = [c.name for c in captures if np.abs(c.record.position_m).max() > FURTHEST_M]
    if far:
        raise CalibrationError(
            f"millimetres? captures {', '.join(far[:5])}: the TCP is {FURTHEST_M} m or more from "
            f"the base ({captures[0].record.position_m}). Poses must be in metres."
        )
    troubles: list[Trouble] = []
    names, views = [], []
    previous_ns = -1
    for capture in captures:
        trouble = _of_record(capture, previous_ns)
        previous_ns = capture.record.frame_stamp_ns
        if trouble is None:
            detection = board.detect(capture.frame)
            if not board.usable(detection):
                reason = board.wrong_way(capture.frame) or (
                    f"{len(detection)} corners of the board are seen. Keep it in the frame, facing "
                    "the camera, in even light."
                )
                trouble = Trouble(name="no board", message=reason, captures=(capture.name,))
            elif detection.sharpness > BLURRED_PX:
                trouble = Trouble(
                    name="blur",
                    message=f"edges are {detection.sharpness:.1f} px wide. Wait until the arm "
                    "rests, focus the lens, or shorten the exposure.",
                    captures=(capture.name,),
                )
            else:
                names.append(capture.name)
                views.append(View(T_base_tcp=capture.record.T_base_tcp, detection=detection))
        if trouble is not None:
            troubles.append(trouble)
    return Examined(names=tuple(names), views=tuple(views), troubles=tuple(troubles))


def _of_record(capture: Capture, previous_ns: int) -> Trouble | None:
    record, where = capture.record, (capture.name,)
    if record.frame_stamp_ns <= previous_ns:
        return Trouble(
            name="stamps",
            message="the frame is not newer than the one before. Is the camera's driver stamping "
            "arrival, or repeating frames?",
            captures=where,
        )
    apart_ns = abs(record.frame_stamp_ns - record.pose_stamp_ns)
    if apart_ns > APART_NS:
        return Trouble(
            name="stamps",
            message=f"frame and pose are {apart_ns / 1e6:.0f} ms apart. Synchronise the clocks of "
            "camera and robot.",
            captures=where,
        )
    if record.moved_m > MOVING_M:
        return Trouble(
            name="moving",
            message=f"the arm moved {record.moved_m * 1000:.1f} mm during the capture. Wait until "
            "it rests.",
            captures=where,
        )
    return None


def disagreement(
    board: Board,
    names: Sequence[str],
    views: Sequence[View],
    lens: Lens,
    setup: Setup,
    *,
    model: str,
) -> Trouble | None:
    """Return why views do not fit together, or None if they do.

    Poses given the wrong way round, a board of another size, and a camera or board that moved
    between captures are told apart. Where none of these is the case, views that fit together with
    another lens of the distortion model `model` are in order: a few views that are hardly tilted
    mistake the focal length, which the arm's poses then settle.
    """
    if len(views) < MIN_VIEWS:
        return None
    single = [
        board_pose(board.corners_m[v.detection.ids], v.detection.pixels, lens)[1] for v in views
    ]
    allowed = INCONSISTENT * max(float(np.median(single)), 0.15)
    together, (X, Y) = _error(board, views, lens, setup)
    other_setup: Setup = "eye_in_hand" if setup == "eye_to_hand" else "eye_to_hand"
    if together > allowed:
        swapped, _ = _error(board, views, lens, other_setup)
        if swapped < 0.5 * together:
            return Trouble(
                name="swapped frames",
                message=f"the poses fit the other way round ({swapped:.2f} px instead of "
                f"{together:.2f} px): they are T_tcp_base where T_base_tcp is wanted, or the "
                "camera is on the hand where it was said to be fixed (or the reverse).",
            )
    scale, std, scaled = _scale(board, views, lens, setup, X, Y)
    if abs(scale - 1) > max(WRONG_SCALE, 5 * std) and scaled <= allowed:
        return Trouble(
            name="board size",
            message=f"the board's squares are {board.square_m * scale * 1000:.1f} mm as the arm "
            f"moves, not {board.square_m * 1000:.1f} mm (scale {scale:.3f} +- {std:.3f}). Measure "
            "the print, or check that the poses are in metres.",
        )
    if together <= allowed:
        return None
    moved = _moved(board, names, views, lens, setup, together)
    if moved is not None:
        return moved
    with_lens, _ = _error(board, views, lens, setup, model)
    if with_lens <= allowed:
        return None
    return Trouble(
        name="disagreement",
        message=f"the captures do not fit together ({with_lens:.2f} px). Is the board flat and "
        "firmly held, and are pose and frame of the same moment?",
    )


def _error(
    board: Board, views: Sequence[View], lens: Lens, setup: Setup, model: str | None = None
) -> tuple[float, tuple[Array, Array]]:
    """Return the typical error (px) of the refined X and Y, and these; `model` frees the lens."""
    starts = closed_form_poses(board, views, setup, lens)
    problem = Problem(board, views, setup, lens, model)

    def cost(pair: tuple[Array, Array]) -> float:
        return float(np.median(np.abs(problem.residuals(*pair, lens.vector))))

    refined = refine(problem, *min(starts.values(), key=cost))
    errors = np.linalg.norm(refined.fit.residuals.reshape(-1, 2), axis=-1)
    return float(np.sqrt(np.mean(np.minimum(errors, 50.0) ** 2))), (refined.X, refined.Y)


def _scale(
    board: Board, views: Sequence[View], lens: Lens, setup: Setup, X: Array, Y: Array
) -> tuple[float, float, float]:
    """Return the board's size relative to what was said, its std, and the error (px) with it."""
    problem = Problem(board, views, setup, lens, None)
    fit = solve(
        lambda x: problem.residuals(
            perturbed(X, x[:6]), perturbed(Y, x[6:12]), lens.vector, 1 + x[12]
        ),
        np.zeros(13),
        scale=0.5,
        groups=problem.groups,
    )
    return 1 + float(fit.x[12]), float(fit.std[12]), fit.rms * float(np.sqrt(2))


def _moved(
    board: Board,
    names: Sequence[str],
    views: Sequence[View],
    lens: Lens,
    setup: Setup,
    together: float,
) -> Trouble | None:
    """Look for the capture from which on something else holds."""
    best = (np.inf, 0, 0.0, 0.0)
    for split in range(MIN_VIEWS // 2, len(views) - MIN_VIEWS // 2 + 1):
        try:
            first, (X1, Y1) = _error(board, views[:split], lens, setup)
            second, (X2, Y2) = _error(board, views[split:], lens, setup)
        except CalibrationError:  # one part turns too little to be solved
            continue
        cost = float(np.hypot(first * np.sqrt(split), second * np.sqrt(len(views) - split)))
        camera = float(np.linalg.norm((inverse(X1) @ X2)[:3, 3]))
        mount = float(np.linalg.norm((inverse(Y1) @ Y2)[:3, 3]))
        best = min(best, (cost / np.sqrt(len(views)), split, camera, mount))
    cost, split, camera, mount = best
    if cost < 0.4 * together:
        what = "camera" if camera > mount else "board"
        return Trouble(
            name=f"moved {what}",
            message=f"the {what} moved by about {max(camera, mount) * 1000:.0f} mm between "
            f"captures {names[split - 1]} and {names[split]}. Fasten it and capture again, or use "
            "the captures of one side only.",
            captures=tuple(names[split:]),
        )
    return None
