"""The gate before training: real frames against the twin's, real motions against its replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import inverse
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

from rlco_calibration.board import Board
from rlco_calibration.captures import CaptureFolder
from rlco_calibration.check_page import Overlay, write_page
from rlco_calibration.handeye import View, solve_mount
from rlco_calibration.lens import Lens, project
from rlco_calibration.parts import CameraModel
from rlco_calibration.problems import examine
from rlco_calibration.recording import Recording, Track, load_all
from rlco_calibration.simulators import TwinSimulator
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]
UInt8Image = NDArray[np.uint8]
Level = Literal["pass", "warn", "fail"]

OVERLAYS = 4
NEAR_PX = 2.0
"""An edge of the twin this near to a real one counts as the same."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Up to `good` is a pass, up to `bad` a warning, beyond a failure."""

    good: float
    bad: float

    def __post_init__(self) -> None:
        """Check the order."""
        if not 0 <= self.good <= self.bad:
            raise ValueError(f"limit: need 0 <= good <= bad, got {self.good} and {self.bad}")

    def level(self, value: float) -> Level:
        """Return the verdict on a value."""
        return "pass" if value <= self.good else "warn" if value <= self.bad else "fail"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is good enough."""

    reprojection_px: Limit = Limit(good=1.0, bad=2.5)
    """Of the board's corners, by the twin's camera and the arm's poses."""
    edges_missed: Limit = Limit(good=0.4, bad=0.65)
    """Share of the arm's edges in the twin that no real edge is near."""
    position_mm: Limit = Limit(good=3.0, bad=8.0)
    """Replayed motion of the TCP, rms."""
    rotation_deg: Limit = Limit(good=1.0, bad=3.0)
    """Replayed rotation of the TCP, rms."""
    object_mm: Limit = Limit(good=10.0, bad=25.0)
    """Where a pushed object ends, in the twin and in reality."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One item of the gate."""

    name: str
    level: Level
    measured: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return one line."""
        tail = f" -> {self.remedy}" if self.level != "pass" and self.remedy else ""
        return f"{self.level.upper():4} {self.name}: {self.measured}{tail}"


def check(
    folder: Path,
    twin: Twin,
    contract: Contract,
    simulator: TwinSimulator,
    limits: Thresholds,
) -> list[Verdict]:
    """Return a verdict for every item, and write `check.html` into the folder."""
    verdicts = [_contract(twin, contract)]
    overlays: list[Overlay] = []
    for path in sorted(p.parent for p in (folder / "captures").glob("*/session.yaml")):
        captures = CaptureFolder.open(path)
        if captures.session.on_hand or captures.session.camera not in contract.camera_names:
            continue
        found, pictures = _camera(captures, twin, simulator, limits)
        verdicts += found
        overlays += pictures
    verdicts += _motions(load_all(folder / "motions"), twin, simulator, limits)
    verdicts += _pushes(load_all(folder / "pushes"), twin, simulator, limits)
    write_page(folder / "check.html", twin, [(v.name, v.level, str(v)) for v in verdicts], overlays)
    return verdicts


def _contract(twin: Twin, contract: Contract) -> Verdict:
    same = twin.contract_id == contract.id
    return Verdict(
        name="contract",
        level="pass" if same else "fail",
        measured=f"the twin's is {twin.contract_id}, {contract.name!r} is {contract.id}",
        remedy="give the contract that the twin was made for, or calibrate again with this one",
    )


def _camera(
    folder: CaptureFolder, twin: Twin, simulator: TwinSimulator, limits: Thresholds
) -> tuple[list[Verdict], list[Overlay]]:
    name, board = folder.session.camera, folder.session.board
    captures = folder.captures()
    seen = examine(board, captures)
    model = twin.camera(name)
    again = f"capture and solve camera {name!r} again: has it moved?"
    if len(seen.views) < 3:
        measured = f"{len(seen.views)} captures show the board"
        return [Verdict(name=f"{name} points", level="fail", measured=measured, remedy=again)], []
    lens = _lens(model)
    Y = solve_mount(board, seen.views, lens, model.T_base_camera)
    error_px = _reprojection(board, seen.views, lens, model.T_base_camera, Y)
    by_name = {capture.name: capture for capture in captures}
    chosen = [by_name[n] for n in seen.names[:: max(len(seen.names) // OVERLAYS, 1)]][:OVERLAYS]
    overlays, missed = [], []
    for capture in chosen:
        picture = simulator.picture(twin, name, capture.record.T_base_tcp)
        pose = inverse(model.T_base_camera) @ capture.record.T_base_tcp @ Y
        share = edges_missed(capture.frame, picture, hidden_by=_outline(board, pose, lens))
        missed.append(share)
        overlays.append(Overlay(name=f"{name} {capture.name}", real=capture.frame, twin=picture))
    share = float(np.median(missed))
    return [
        Verdict(
            name=f"{name} points",
            level=limits.reprojection_px.level(error_px),
            measured=f"corners of the board are {error_px:.2f} px from where the twin has them",
            remedy=again,
        ),
        Verdict(
            name=f"{name} edges",
            level=limits.edges_missed.level(share),
            measured=f"{100 * share:.0f}% of the twin's edges have no real edge within "
            f"{NEAR_PX:.0f} px",
            remedy=f"{again} Look at the overlays in check.html",
        ),
    ], overlays


def _lens(model: CameraModel) -> Lens:
    return Lens(
        size=(model.width, model.height),
        fx=model.fx,
        fy=model.fy,
        cx=model.cx,
        cy=model.cy,
        distortion=model.distortion,
    )


def _reprojection(board: Board, views: Sequence[View], lens: Lens, X: Array, Y: Array) -> float:
    """Return the rms error (px) with the twin's camera X; only the board's mount Y was fitted."""
    errors = []
    for view in views:
        pose = inverse(X) @ view.T_base_tcp @ Y
        points = board.corners_m[view.detection.ids] @ pose[:3, :3].T + pose[:3, 3]
        errors.append(np.sum((project(points, lens.vector) - view.detection.pixels) ** 2, -1))
    # the median of a squared distance in a plane is 1.386 of the variance along each axis
    return float(np.sqrt(2 * np.median(np.concatenate(errors)) / 1.386))


def _outline(board: Board, T_camera_board: Array, lens: Lens) -> Array:
    """Return the rim of the board, its margin included, as pixels `(4, 2)`."""
    (width, height), rim = board.size_m, board.square_m / 2
    x, y = (-rim, width + rim), (-rim, height + rim)
    corners = np.array([[x[0], y[0], 0], [x[1], y[0], 0], [x[1], y[1], 0], [x[0], y[1], 0]])
    return project(corners @ T_camera_board[:3, :3].T + T_camera_board[:3, 3], lens.vector)


def edges_missed(real: UInt8Image, twin: UInt8Image, *, hidden_by: Array | None = None) -> float:
    """Return which share of the twin's edges has no edge of the real frame near.

    `hidden_by` `(N, 2)` px outlines what stands before the scene in the real frame only.
    """
    edges = [
        cv2.Canny(cv2.GaussianBlur(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (3, 3), 0), 40, 100) > 0
        for f in (real, twin)
    ]
    if hidden_by is not None:
        mask = np.zeros(real.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.rint(hidden_by).astype(np.int32)], 1)
        edges[1] &= mask == 0
    if not edges[1].any():
        return 1.0
    distance = distance_transform_edt(~edges[0])
    return float((distance[edges[1]] > NEAR_PX).mean())


def _motions(
    recordings: Sequence[Recording], twin: Twin, simulator: TwinSimulator, limits: Thresholds
) -> list[Verdict]:
    if not recordings:
        measured = "no recorded motions"
        return [Verdict(name="motion", level="warn", measured=measured, remedy="record some")]
    tracks = simulator([(twin, recording) for recording in recordings])
    position, rotation = _apart(recordings, tracks)
    remedy = "identify the arm again: its gains, payload or speed limits may have changed"
    return [
        Verdict(
            name="motion, position",
            level=limits.position_mm.level(position),
            measured=f"replays of {len(recordings)} motions are {position:.2f} mm off (rms)",
            remedy=remedy,
        ),
        Verdict(
            name="motion, rotation",
            level=limits.rotation_deg.level(rotation),
            measured=f"{rotation:.2f} deg off (rms)",
            remedy=remedy,
        ),
    ]


def _apart(recordings: Sequence[Recording], tracks: Sequence[Track]) -> tuple[float, float]:
    """Return the rms distance (mm) and angle (deg) of the TCP over all motions."""
    ours = np.concatenate([recording.track.T_base_tcp for recording in recordings])
    theirs = np.concatenate([track.T_base_tcp for track in tracks])
    distance = np.linalg.norm(ours[:, :3, 3] - theirs[:, :3, 3], axis=-1)
    turn = np.swapaxes(theirs[:, :3, :3], 1, 2) @ ours[:, :3, :3]
    angle = np.degrees(Rotation.from_matrix(turn).magnitude())
    return float(1000 * np.sqrt(np.mean(distance**2))), float(np.sqrt(np.mean(angle**2)))


def _pushes(
    recordings: Sequence[Recording], twin: Twin, simulator: TwinSimulator, limits: Thresholds
) -> list[Verdict]:
    if not recordings:
        return []
    tracks = simulator([(twin, recording) for recording in recordings])
    errors = [
        1000 * float(np.linalg.norm(poses[-1, :3, 3] - track.objects[name][-1, :3, 3]))
        for recording, track in zip(recordings, tracks, strict=True)
        for name, poses in recording.track.objects.items()
    ]
    worst = max(errors)
    return [
        Verdict(
            name="object motion",
            level=limits.object_mm.level(worst),
            measured=f"pushed objects end up to {worst:.1f} mm from where the twin has them",
            remedy="measure friction and masses again",
        )
    ]
