"""The table by touch, and numbers measured by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import interval
from rlco_calibration.results import Quantities, Quantity

Array = NDArray[np.float64]

TIP_M = 0.00945
"""From the TCP down to the tips of the Franka hand's closed fingers, tool pointing down."""
TOUCH_STD_M = 0.0002
"""Trust in one touch beyond the spread of several: compliance and the step of the descent."""
LEVEL_RAD = 0.01


@dataclass(frozen=True, kw_only=True)
class Touches:
    """TCP positions (m, base frame) at which the closed fingers stood on the table, tool down."""

    positions_m: tuple[tuple[float, float, float], ...]
    tip_m: float = TIP_M


def points(touches: Touches) -> Array:
    """Return the touches `(N, 3)`."""
    return np.array(touches.positions_m, float)


def table_height(touches: Touches, *, board_m: tuple[float, float] | None = None) -> Quantities:
    """Return the table's height from at least four touches, and say if it is not level.

    Args:
        touches: where the fingers touched.
        board_m: height and std of the table by a board that lay on it; combined by weights.

    Raises:
        CalibrationError: if touches are too few, in one line, or contradict one another.
    """
    touched = points(touches)
    if len(touched) < 4:
        raise CalibrationError(f"{len(touched)} touches of the table, at least 4 are needed")
    design = np.column_stack([touched[:, :2] - touched[:, :2].mean(axis=0), np.ones(len(touched))])
    if np.linalg.svd(design[:, :2])[1][1] < 0.05:
        raise CalibrationError("the touches lie in one line: spread them over the table")
    plane, *_ = np.linalg.lstsq(design, touched[:, 2], rcond=None)
    residual = touched[:, 2] - design @ plane
    if np.abs(residual).max() > 0.003:
        worst = int(np.argmax(np.abs(residual)))
        raise CalibrationError(
            f"touch {worst + 1} at ({touched[worst, 0]:.3f}, {touched[worst, 1]:.3f}) m is "
            f"{residual[worst] * 1000:+.1f} mm off the plane of the others. Was there something on "
            "the table? Touch again."
        )
    degrees = len(touched) - 3
    spread = float(np.sqrt(residual @ residual / degrees))
    std = float(np.hypot(spread / np.sqrt(len(touched)), TOUCH_STD_M))
    height = float(plane[2]) - touches.tip_m
    source = f"{len(touched)} touches with the closed fingers, {spread * 1000:.2f} mm rms"
    notes = []
    slope = float(np.hypot(*plane[:2]))
    if slope > LEVEL_RAD:
        notes.append(
            f"the table slopes by {slope * 1000:.0f} mm/m; the twin's table is level. Level the "
            "table, or the robot."
        )
    if board_m is not None:
        other, other_std = board_m
        if abs(other - height) > 4 * np.hypot(std, other_std):
            notes.append(
                f"the board says {other * 1000:.1f} mm, the touches {height * 1000:.1f} mm: more "
                "than their uncertainties allow. Check the board's thickness and the finger tips."
            )
    low, high = interval(height, std, degrees)
    quantity = Quantity(
        name="table.height_m", value=height, std=std, low=low, high=high, source=source
    )
    return Quantities(quantities=(quantity,), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True)
class RulerEntry:
    """One number by hand: the path of its field in the twin, value, and how well it was read.

    Lengths in metres, masses in kilograms: `objects.cube.mass_kg`, `drawers.drawer.travel_m`; one
    of several numbers by its place: `objects.cube.size_m[2]`, `drawers.drawer.handle_size_m[0]`.
    """

    name: str
    value: float
    std: float
    tool: str = "ruler"


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """A file of numbers measured by hand, for those who prefer a ruler."""

    entries: tuple[RulerEntry, ...]

    def quantities(self) -> Quantities:
        """Return them as measured numbers.

        Raises:
            CalibrationError: naming an entry that must be in the wrong unit.
        """
        found = []
        for entry in self.entries:
            if entry.name.partition("[")[0].endswith("_m") and abs(entry.value) > 3:
                raise CalibrationError(
                    f"{entry.name}: {entry.value} m is impossible on a bench. Millimetres? Give "
                    "metres."
                )
            if entry.std <= 0:
                raise CalibrationError(f"{entry.name}: std must be positive, got {entry.std}")
            found.append(
                Quantity(
                    name=entry.name,
                    value=entry.value,
                    std=entry.std,
                    low=entry.value - 1.96 * entry.std,
                    high=entry.value + 1.96 * entry.std,
                    source=f"measured by hand ({entry.tool})",
                )
            )
        return Quantities(quantities=tuple(found))
