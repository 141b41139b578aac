"""Moves of the arm for a calibration: slow, in small steps, inside a box, ending at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import apply_delta, delta_between, pose_matrix

from rlco_calibration.errors import CalibrationError
from rlco_calibration.port import BenchPort

Array = NDArray[np.float64]

TOOL_DOWN = np.diag([1.0, -1.0, -1.0])
"""Rotation of the TCP in the base frame when the tool points down."""
ARRIVED_M = 0.008
LEAN_M, RELAX_PERIODS = 0.001, 5
STILL_M, STILL_RAD = 3e-4, 2e-3
"""Less movement than this in a control period is rest."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Longest step per control period, and how long to wait for rest."""

    step_m: float = 0.03
    step_rad: float = 0.1
    settle_periods: int = 12


def steps(start: Array, goal: Array, pace: Pace) -> list[Array]:
    """Return targets `(4, 4)` on the straight way from `start` to `goal`, `goal` last."""
    delta = delta_between(start, goal)
    longest = max(
        float(np.linalg.norm(delta[:3])) / pace.step_m,
        float(np.linalg.norm(delta[3:])) / pace.step_rad,
    )
    count = max(int(np.ceil(longest)), 1)
    return [apply_delta(start, delta * i / count) for i in range(1, count)] + [goal]


def go(port: BenchPort, start: Array, goal: Array, *, width_m: float, pace: Pace) -> bool:
    """Drive from the target `start` to `goal`; return whether the arm came to rest there."""
    for target in steps(start, goal, pace):
        port.command(target, width_m)
    before = port.read()
    for _ in range(pace.settle_periods):
        port.command(goal, width_m)
        now = port.read()
        moved = delta_between(before.T_base_tcp, now.T_base_tcp)
        if np.linalg.norm(moved[:3]) < STILL_M and np.linalg.norm(moved[3:]) < STILL_RAD:
            return True
        before = now
    return False


def press(
    port: BenchPort, start: Array, direction: Array, *, furthest_m: float, step_m: float = 0.003
) -> tuple[Array, Array]:
    """Move the closed fingers until something stops them; return where that is, and the target.

    Then the load is taken off but for a little, and the arm goes back to the line that it left as
    it bent under the load, so that what is leant on is neither pushed away nor slid along. What
    yields (a drawer on its way) does not stop the fingers.

    Args:
        port: the bench; the arm rests at `start`.
        start: the target that the arm is at, `(4, 4)`.
        direction: unit vector `(3,)`, base frame.
        furthest_m: how far to go at most.
        step_m: per control period.

    Raises:
        CalibrationError: if nothing was met.
    """
    target, gone, stalled = start, [0.0], 0
    origin = port.read().T_base_tcp[:3, 3]
    for _ in range(int(furthest_m / step_m)):
        target = target.copy()
        target[:3, 3] += step_m * direction
        port.command(target, 0.0)
        gone.append(float((port.read().T_base_tcp[:3, 3] - origin) @ direction))
        slow = gone[-1] > 2 * step_m and gone[-1] - gone[-2] < 0.3 * step_m
        stalled = stalled + 1 if slow else 0
        if stalled >= 3:
            met_m = float((port.read().T_base_tcp[:3, 3] - start[:3, 3]) @ direction)
            target = target.copy()
            target[:3, 3] = start[:3, 3] + (met_m + LEAN_M) * direction
            for _ in range(RELAX_PERIODS):
                port.command(target, 0.0)
            return port.read().T_base_tcp[:3, 3].copy(), target
    x, y, z = target[:3, 3]
    raise CalibrationError(
        f"nothing stopped the fingers on {furthest_m * 1000:.0f} mm up to ({x:.3f}, {y:.3f}, "
        f"{z:.3f}) m. Is it where the twin to start from says?"
    )


def touch(
    port: BenchPort,
    x_m: float,
    y_m: float,
    *,
    start: Array,
    above_m: float,
    deepest_m: float,
    step_m: float = 0.001,
    rotation: Array = TOOL_DOWN,
) -> tuple[float, Array]:
    """Lower the closed fingers until they stand on something; return that height and the target.

    The arm goes to `above_m` first, then down in steps of `step_m`; contact is where the measured
    height stays behind a target that goes on.

    Raises:
        CalibrationError: if nothing was touched before `deepest_m`.
    """
    high = pose_matrix([x_m, y_m, above_m], rotation)
    pace = Pace()
    go(port, start, high, width_m=0.0, pace=pace)
    off_m = float(np.linalg.norm(port.read().T_base_tcp[:3, 3] - high[:3, 3]))
    if off_m > ARRIVED_M:
        raise CalibrationError(
            f"the arm is {off_m * 1000:.0f} mm from where it was sent, ({x_m:.3f}, {y_m:.3f}, "
            f"{above_m:.3f}) m: at a joint limit? Bring it to a relaxed pose, tool down, and go on."
        )
    target = high.copy()
    heights = [port.read().T_base_tcp[2, 3]]
    stalled = 0
    while target[2, 3] > deepest_m:
        target = target.copy()
        target[2, 3] -= step_m
        sent = port.command(target, 0.0)
        if sent[2, 3] > target[2, 3] + step_m / 10:
            raise CalibrationError(
                f"the arm's guard stops targets at {sent[2, 3]:.4f} m, above the table. Lower the "
                "guard's workspace box while the table is measured."
            )
        heights.append(port.read().T_base_tcp[2, 3])
        fell = heights[-2] - heights[-1]
        started = above_m - heights[-1] > 5 * step_m
        stalled = stalled + 1 if started and fell < 0.3 * step_m else 0
        if stalled >= 3:
            height = float(np.median(heights[-3:]))
            go(port, target, high, width_m=0.0, pace=pace)
            return height, high
    raise CalibrationError(
        f"nothing was touched at ({x_m:.3f}, {y_m:.3f}) m down to {deepest_m:.3f} m. Is the table "
        "lower than that, or does a workspace limit stop the arm above it?"
    )
