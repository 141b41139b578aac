"""Does a camera of the twin see what the real one saw?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import inverse

from rlco_calibration.board import Board
from rlco_calibration.captures import Capture, CaptureFolder
from rlco_calibration.check_limits import Thresholds, Verdict
from rlco_calibration.check_page import Overlay
from rlco_calibration.handeye import View, solve_mount
from rlco_calibration.lens import Lens, project
from rlco_calibration.outline import LEAST_POINTS, Alignment, align
from rlco_calibration.parts import CameraModel
from rlco_calibration.problems import examine
from rlco_calibration.simulators import TwinSimulator
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]

LOOKED_AT = 8
"""Captures that are compared with the twin's picture."""
SHOWN = 4
"""How many of them the page shows."""


def camera(
    folder: CaptureFolder, twin: Twin, simulator: TwinSimulator, limits: Thresholds
) -> tuple[list[Verdict], list[Overlay]]:
    """Return the verdicts on one fixed camera, and pictures for the page."""
    name, board = folder.session.camera, folder.session.board
    captures = folder.captures()
    seen = examine(board, captures)
    model = twin.camera(name)
    again = f"capture and solve camera {name!r} again: has it moved?"
    if len(seen.views) < 3:
        measured = f"{len(seen.views)} captures show the board"
        return [Verdict(name=f"{name} points", level="fail", measured=measured, remedy=again)], []
    lens = model.lens
    Y = solve_mount(board, seen.views, lens, model.T_base_camera)
    error_px = _reprojection(board, seen.views, lens, model.T_base_camera, Y)
    by_name = {capture.name: capture for capture in captures}
    chosen = [by_name[n] for n in seen.names[:: max(len(seen.names) // LOOKED_AT, 1)]][:LOOKED_AT]
    alignments, overlays = [], []
    for capture in chosen:
        view = simulator.view(twin, name, capture.record.T_base_tcp)
        rim = _rim(board, model, capture, Y)
        alignment = align(capture.frame, view.labels, hidden_by=rim)
        alignments.append(alignment)
        overlays.append(
            Overlay(
                name=f"{name} {capture.name}",
                real=capture.frame,
                twin=view.frame,
                twin_arm=alignment.twin_arm,
                edges_px=alignment.edges_px,
            )
        )
    return [
        Verdict(
            name=f"{name} points",
            level=limits.reprojection_px.level(error_px),
            measured=f"corners of the board are {error_px:.2f} px from where the twin has them",
            remedy=again,
        ),
        *_images(name, alignments, limits, f"{again} Look at the overlays in check.html"),
    ], overlays[:SHOWN]


def _images(
    name: str, alignments: Sequence[Alignment], limits: Thresholds, remedy: str
) -> list[Verdict]:
    """Return the verdicts on outline and mask of the arm, over all captures together."""
    offsets = np.abs(np.concatenate([alignment.offsets_px for alignment in alignments]))
    looked = sum(alignment.looked_at for alignment in alignments)
    if len(offsets) < LEAST_POINTS:
        return [
            Verdict(
                name=f"{name} outline",
                level="warn",
                measured=f"only {len(offsets)} of {looked} points of the arm's outline stand out "
                "from what is behind",
                remedy="capture with more of the arm in view, before a backdrop of another "
                "brightness",
            )
        ]
    median_px = float(np.median(offsets))
    missed = float(np.median([item.mask_missed for item in alignments if len(item.offsets_px)]))
    return [
        Verdict(
            name=f"{name} outline",
            level=limits.outline_px.level(median_px),
            measured=f"the arm's outline is {median_px:.2f} px from the real edge (median of "
            f"{len(offsets)} points)",
            remedy=remedy,
        ),
        Verdict(
            name=f"{name} mask",
            level=limits.mask_missed.level(missed),
            measured=f"the arm's mask has {100 * (1 - missed):.0f}% in common with the real one, "
            "by its edges (intersection over union)",
            remedy=remedy,
        ),
    ]


def _reprojection(board: Board, views: Sequence[View], lens: Lens, X: Array, Y: Array) -> float:
    """Return the rms error (px) with the twin's camera X; only the board's mount Y was fitted."""
    errors = []
    for view in views:
        pose = inverse(X) @ view.T_base_tcp @ Y
        points = board.corners_m[view.detection.ids] @ pose[:3, :3].T + pose[:3, 3]
        errors.append(np.sum((project(points, lens.vector) - view.detection.pixels) ** 2, -1))
    # the median of a squared distance in a plane is 1.386 of the variance along each axis
    return float(np.sqrt(2 * np.median(np.concatenate(errors)) / 1.386))


def _rim(board: Board, model: CameraModel, capture: Capture, Y: Array) -> Array:
    """Return the rim of the board in a capture, its margin included, as pixels `(4, 2)`."""
    T_camera_board = inverse(model.T_base_camera) @ capture.record.T_base_tcp @ Y
    (width, height), margin = board.size_m, board.square_m / 2
    x, y = (-margin, width + margin), (-margin, height + margin)
    corners = np.array([[x[0], y[0], 0], [x[1], y[0], 0], [x[1], y[1], 0], [x[0], y[1], 0]])
    points = corners @ T_camera_board[:3, :3].T + T_camera_board[:3, 3]
    return project(points, model.lens.vector)
