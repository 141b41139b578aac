"""The initial-state distribution of a task from positions that were marked on the table.

marks/push_cube.yaml holds where things may start: each mark was touched with the TCP, or clicked in
a picture. Every object's marks are covered by the smallest upright rectangle, and its yaws by the
smallest range; a margin widens both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError
from rlco_calibration.initial_states import sample
from rlco_calibration.parts import (
    InitialStates,
    Placement,
    Provenance,
    Range,
    Vector3,
    Workspace,
)
from rlco_calibration.results import with_provenance
from rlco_calibration.twin import Twin, TwinError

Array = NDArray[np.float64]
Pixel = tuple[float, float]

LEAST_MARKS = 4
SHOULDER_M = 0.333
"""Height of the Franka's shoulder over its base; this and the lengths below from Franka's
Denavit-Hartenberg parameters (FCI documentation, "Robot and interface specifications")."""
ARM_M = math.hypot(0.316, 0.0825) + math.hypot(0.384, 0.0825)
"""Shoulder to wrist, stretched."""
WRIST_ASIDE_M, WRIST_UP_M = 0.088, 0.107 + 0.1034
"""From the TCP to the wrist, tool down."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One marked position: `touched_m` (TCP, base frame) or `pixel` of the set's camera.

    `yaw_rad` is how the object is turned there; 0 where it does not matter.
    """

    object: str
    touched_m: Vector3 | None = None
    pixel: Pixel | None = None
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        """Check that there is one position."""
        if (self.touched_m is None) == (self.pixel is None):
            raise ValueError(f"mark of {self.object!r}: give one of touched_m and pixel")


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The marks of one task; `camera` is needed where some are pixels."""

    task: str
    marks: tuple[Mark, ...]
    camera: str = ""
    margin_m: float = 0.0
    """How much further than the outermost marks objects may stand."""
    margin_rad: float = 0.0
    """How much further they may be turned."""

    def __post_init__(self) -> None:
        """Check the margins."""
        if not 0 <= self.margin_m <= 0.2 or not 0 <= self.margin_rad <= math.pi:
            raise ValueError(
                f"marks of {self.task!r}: margins must be 0 to 0.2 m and 0 to pi rad, got "
                f"{self.margin_m} and {self.margin_rad}. Metres and radians."
            )


@dataclass(frozen=True, kw_only=True)
class MeasuredStates:
    """Initial states of tasks as marked, with where they came from."""

    states: tuple[InitialStates, ...]
    sources: dict[str, str]
    marked: dict[str, tuple[str, ...]]
    """By task: which objects were marked; the others are where the twin had them."""


def reach_m(height_m: float) -> float:
    """Return how far from the base's axis a Franka's TCP gets at a height, tool down."""
    up = height_m + WRIST_UP_M - SHOULDER_M
    return WRIST_ASIDE_M + math.sqrt(max(ARM_M**2 - up**2, 0.0))


def positions(marks: Marks, on_table: Callable[[Array], Array]) -> Array:
    """Return the marks' positions `(N, 2)` on the table, base frame.

    Args:
        marks: touched or clicked.
        on_table: maps pixels `(N, 2)` of the set's camera to points `(N, 3)` of the table.

    Raises:
        CalibrationError: naming a mark in the wrong unit.
    """
    found = []
    for index, mark in enumerate(marks.marks):
        if mark.touched_m is not None:
            if max(abs(value) for value in mark.touched_m) > 3:
                raise CalibrationError(
                    f"task {marks.task!r}: mark {index + 1} of {mark.object!r} is at "
                    f"{mark.touched_m} m. Millimetres? Give metres."
                )
            found.append(mark.touched_m[:2])
        elif mark.pixel is not None:
            x, y = on_table(np.array([mark.pixel]))[0, :2].tolist()
            found.append((x, y))
    return np.array(found, float).reshape(-1, 2)


def fitted(marks: Marks, places_m: Array, twin: Twin) -> InitialStates:
    """Return the task's initial states of the twin with placements that cover the marks.

    Args:
        marks: the marks.
        places_m: where they are, `(N, 2)`.
        twin: whose task it is; instruction, start of the TCP and distances stay.

    Raises:
        CalibrationError: naming objects with too few marks or that the task does not place, marks
            outside the workspace or out of reach, or a distribution that cannot be drawn from.
    """
    try:
        states = twin.task(marks.task)
    except TwinError as error:
        raise CalibrationError(str(error)) from error
    placed = {place.name: place for place in states.placements}
    unknown = sorted({mark.object for mark in marks.marks} - set(placed))
    if unknown:
        raise CalibrationError(
            f"task {marks.task!r} does not place {unknown[0]!r}; it places {sorted(placed)}"
        )
    _check_reach(marks, places_m, twin.workspace, twin.table.height_m)
    for name in dict.fromkeys(mark.object for mark in marks.marks):
        mine = [index for index, mark in enumerate(marks.marks) if mark.object == name]
        if len(mine) < LEAST_MARKS:
            raise CalibrationError(
                f"task {marks.task!r}: {len(mine)} marks of {name!r}, at least {LEAST_MARKS} are "
                "needed: mark the corners of where it may start"
            )
        yaws = [marks.marks[index].yaw_rad for index in mine]
        placed[name] = _placement(name, places_m[mine], yaws, marks, twin.workspace)
    new = replace(states, placements=tuple(placed[place.name] for place in states.placements))
    tasks = tuple(new if task.name == new.name else task for task in twin.tasks)
    try:
        sample(replace(twin, tasks=tasks), marks.task, np.random.default_rng(0), "try")
    except TwinError as error:
        raise CalibrationError(f"the marks leave no room: {error}") from error
    return new


def with_states(twin: Twin, measured: MeasuredStates) -> Twin:
    """Return the twin with the tasks' initial states as marked."""
    new: Mapping[str, InitialStates] = {states.name: states for states in measured.states}
    twin = replace(twin, tasks=tuple(new.get(task.name, task) for task in twin.tasks))
    return with_provenance(
        twin,
        *(
            Provenance(name=f"tasks.{name}.placements", source=source)
            for name, source in measured.sources.items()
        ),
    )


def _check_reach(marks: Marks, places_m: Array, workspace: Workspace, table_m: float) -> None:
    low, high = np.array(workspace.low_m[:2]), np.array(workspace.high_m[:2])
    furthest = reach_m(table_m)
    wrong = []
    for index, (mark, place) in enumerate(zip(marks.marks, places_m, strict=True)):
        where = f"mark {index + 1} of {mark.object!r} at ({place[0]:.3f}, {place[1]:.3f}) m"
        if (place < low).any() or (place > high).any():
            wrong.append(f"{where} is outside the workspace box")
        elif np.hypot(*place) > furthest:
            wrong.append(f"{where} is out of the arm's reach, {furthest:.2f} m")
    if wrong:
        box = f"x {low[0]:g} to {high[0]:g}, y {low[1]:g} to {high[1]:g} m"
        raise CalibrationError(
            f"task {marks.task!r}: {'; '.join(wrong)} (the box is {box}). Mark nearer, or widen "
            "the workspace box in the twin to start from."
        )


def _placement(
    name: str, places_m: Array, yaws: Sequence[float], marks: Marks, workspace: Workspace
) -> Placement:
    """Return the rectangle around the marks with the margin, no further than the workspace."""
    low = np.maximum(places_m.min(axis=0) - marks.margin_m, workspace.low_m[:2])
    high = np.minimum(places_m.max(axis=0) + marks.margin_m, workspace.high_m[:2])
    x, y = ((float(low[i]), float(high[i])) for i in (0, 1))
    return Placement(name=name, x_m=x, y_m=y, yaw_rad=_yaw_range(yaws, marks.margin_rad))


def _yaw_range(yaws: Sequence[float], margin_rad: float) -> Range:
    """Return the smallest range of yaws that holds all, widened; at most a whole turn."""
    turns = np.sort(np.mod(np.asarray(yaws, float), 2 * np.pi))
    gaps = np.diff(np.append(turns, turns[0] + 2 * np.pi))
    last = int(np.argmax(gaps))
    start = float(turns[(last + 1) % len(turns)])
    extent = max(float(2 * np.pi - gaps[last]), 0.0)
    low, high = start - margin_rad, start + extent + margin_rad
    if high - low >= 2 * np.pi:
        return (-math.pi, math.pi)
    if (low + high) / 2 > math.pi:
        low, high = low - 2 * math.pi, high - 2 * math.pi
    return (low, high)
