"""Grades a calibration against a lab's hidden twin: the one reader of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.estimate import interval
from rlco_calibration.marked_states import MeasuredStates
from rlco_calibration.results import CameraResult, Quantities, value_at
from rlco_calibration.twin import Twin
from rlco_datasets import spec
from rlco_datasets.frames import pose_from_quaternion
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

BOUNDS = {
    "camera position": (3.0, "mm"),
    "camera rotation": (0.3, "deg"),
    "focal length": (0.5, "%"),
    "table height": (1.0, "mm"),
    "controller delay": (25.0, "ms"),
    "controller gain": (15.0, "%"),
    "stiffness": (15.0, "%"),
    "damping": (15.0, "%"),
    "friction": (15.0, "%"),
    "object size": (3.0, "mm"),
    "drawer travel": (2.0, "mm"),
    "drawer axis": (1.0, "deg"),
    "drawer position": (5.0, "mm"),
    "handle depth": (2.0, "mm"),
    "handle height": (2.0, "mm"),
    "drawer friction": (15.0, "%"),
    "drawer damping": (15.0, "%"),
    "colour": (2.0, "% of white"),
    "light": (5.0, "% of white"),
    "sensor noise": (10.0, "%"),
    "start region": (5.0, "mm"),
}
"""What the median error may be at most."""
SCALED = {
    "table.height_m": ("table height", 1000.0, False),
    "arm.delay_s": ("controller delay", 1000.0, False),
    "arm.gain": ("controller gain", 100.0, True),
    "arm.stiffness": ("stiffness", 100.0, True),
    "arm.damping": ("damping", 100.0, True),
}
FIELDS = {
    ("objects", "friction"): ("friction", 100.0, True),
    ("objects", "size_m"): ("object size", 1000.0, False),
    ("drawers", "travel_m"): ("drawer travel", 1000.0, False),
    ("drawers", "yaw_rad"): ("drawer axis", float(np.degrees(1.0)), False),
    ("drawers", "position_m"): ("drawer position", 1000.0, False),
    ("drawers", "handle_size_m"): ("handle depth", 1000.0, False),
    ("drawers", "handle_height_m"): ("handle height", 1000.0, False),
    ("drawers", "joint_friction_n"): ("drawer friction", 100.0, True),
    ("drawers", "joint_damping_n_s_per_m"): ("drawer damping", 100.0, True),
    ("objects", "colour"): ("colour", 100.0, False),
    ("table", "colour"): ("colour", 100.0, False),
    ("lighting", "backdrop_colour"): ("colour", 100.0, False),
    ("lighting", "ambient"): ("light", 100.0, False),
    ("lighting", "directional"): ("light", 100.0, False),
    ("cameras", "noise_std"): ("sensor noise", 100.0, True),
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One quantity of one lab: its error, and whether the stated 95% intervals hold the truth."""

    name: str
    error: float
    inside: tuple[bool, ...]


def marks(folder: Path, hidden: Twin) -> list[Mark]:
    """Return how far the results of a calibration's folder are from the truth."""
    found: list[Mark] = []
    for path in sorted((folder / "results").glob("camera_*.yaml")):
        found += _camera(spec.load(CameraResult, path), hidden)
    for name in ("table", "objects", "drawer", "arm", "friction", "slides", "appearance"):
        path = folder / "results" / f"{name}.yaml"
        if path.is_file():
            found += _quantities(spec.load(Quantities, path), hidden)
    tasks = folder / "results" / "tasks.yaml"
    return found + (_regions(spec.load(MeasuredStates, tasks), hidden) if tasks.is_file() else [])


def _regions(measured: MeasuredStates, hidden: Twin) -> list[Mark]:
    """Return how far the edges of start regions are from the lab's, the worst of each object."""
    found = []
    for states in measured.states:
        truth = {place.name: place for place in hidden.task(states.name).placements}
        for place in states.placements:
            if place.name in measured.marked[states.name]:
                true = truth[place.name]
                edges = np.subtract((*place.x_m, *place.y_m), (*true.x_m, *true.y_m))
                worst = float(np.abs(edges).max() * 1000)
                found.append(Mark(name="start region", error=worst, inside=()))
    return found


def _camera(result: CameraResult, hidden: Twin) -> list[Mark]:
    camera = hidden.camera(result.camera)
    truth = camera.T_base_camera
    distance, angle = _apart(result.pose, truth)
    turn = Rotation.from_matrix(truth[:3, :3] @ result.pose[:3, :3].T).as_rotvec()
    position = [
        _within(truth[i, 3], result.position_m[i], result.position_std_m[i], result.degrees)
        for i in range(3)
    ]
    rotation = [_within(turn[i], 0.0, result.rotation_std_rad[i], result.degrees) for i in range(3)]
    focal = [
        _within(camera.fx, result.lens.fx, result.lens_std[0], result.degrees),
        _within(camera.fy, result.lens.fy, result.lens_std[1], result.degrees),
    ]
    worst = max(abs(result.lens.fx / camera.fx - 1), abs(result.lens.fy / camera.fy - 1))
    found = [
        Mark(name="camera position", error=distance, inside=tuple(position)),
        Mark(name="camera rotation", error=angle, inside=tuple(rotation)),
        Mark(name="focal length", error=100 * worst, inside=tuple(focal)),
    ]
    for method, position_m in result.baselines_m.items():
        pose = pose_from_quaternion(position_m, result.baselines_wxyz[method])
        off, turned = _apart(pose, truth)
        found.append(Mark(name=f"camera position, OpenCV {method} alone", error=off, inside=()))
        found.append(Mark(name=f"camera rotation, OpenCV {method} alone", error=turned, inside=()))
    return found


def _quantities(measured: Quantities, hidden: Twin) -> list[Mark]:
    found = []
    for item in measured.quantities:
        group, *_, field = item.name.partition("[")[0].split(".")
        if item.name in SCALED:
            name, scale, relative = SCALED[item.name]
        elif (group, field) in FIELDS:
            name, scale, relative = FIELDS[group, field]
        else:
            continue
        truth = float(value_at(hidden, item.name))
        error = abs(item.value - truth) / (truth if relative else 1.0) * scale
        inside = (item.low <= truth <= item.high,) if item.identified else ()
        found.append(Mark(name=name, error=error, inside=inside))
    return found


def _within(truth: float, value: float, std: float, degrees: float) -> bool:
    low, high = interval(value, std, degrees)
    return bool(low <= truth <= high)


def _apart(pose: Array, truth: Array) -> tuple[float, float]:
    """Return the distance (mm) and the angle (deg) between two poses."""
    turn = Rotation.from_matrix(pose[:3, :3] @ truth[:3, :3].T).magnitude()
    return float(np.linalg.norm(pose[:3, 3] - truth[:3, 3]) * 1000), float(np.degrees(turn))


def table(labs: Sequence[Sequence[Mark]]) -> tuple[list[str], bool]:
    """Return the table over all labs as lines, and whether everything is within its bound."""
    names = list(dict.fromkeys(mark.name for lab in labs for mark in lab))
    lines = [
        f"| {len(labs)} hidden labs | median error | worst | bound | 95% intervals that hold |",
        "|---|---|---|---|---|",
    ]
    passed = True
    held: list[bool] = []
    for name in names:
        found = [mark for lab in labs for mark in lab if mark.name == name]
        values = [mark.error for mark in found]
        inside = [one for mark in found for one in mark.inside]
        held += inside
        bound, unit = BOUNDS.get(name, BOUNDS[name.partition(",")[0]])
        baseline = "," in name
        median = float(np.median(values))
        passed &= baseline or median <= bound
        share = f"{sum(inside)} of {len(inside)}" if inside else ""
        limit = "" if baseline else f"{bound:g} {unit}"
        lines.append(f"| {name} | {median:.2f} {unit} | {max(values):.2f} | {limit} | {share} |")
    if held:
        passed &= sum(held) >= 0.85 * len(held)
        lines.append(
            f"| all intervals | | | 85% | {sum(held)} of {len(held)} "
            f"({100 * sum(held) / len(held):.0f}%) |"
        )
    return lines, passed
