"""Do real demonstrations, replayed in the twin, go where they went, and end as they ended?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rlco_calibration.check_limits import Thresholds, Verdict
from rlco_calibration.demonstration import Demonstration, Replayed

Array = NDArray[np.float64]

MOVED_M = 0.005
"""Fingers that moved by less never opened or closed."""


@dataclass(frozen=True, kw_only=True)
class ReplayError:
    """One demonstration against its replay.

    `position_mm` and `rotation_deg` are `(N,)`; `gripper_s` is the largest difference of the times
    at which the fingers opened or closed, infinite if they did so another number of times, None if
    they never did. `object_mm` is how far the worst object ends from where it ended, None if the
    store does not know. `solved` is None for a demonstration that failed.
    """

    demonstration: Demonstration
    replayed: Replayed
    position_mm: Array
    rotation_deg: Array
    gripper_s: float | None
    object_mm: float | None
    solved: bool | None


def compare(demonstration: Demonstration, replayed: Replayed, period_s: float) -> ReplayError:
    """Return how a replay differs from what was recorded."""
    real, twin = demonstration.recording.track, replayed.track
    apart = real.T_base_tcp[:, :3, 3] - twin.T_base_tcp[:, :3, 3]
    turn = np.swapaxes(twin.T_base_tcp[:, :3, :3], 1, 2) @ real.T_base_tcp[:, :3, :3]
    ends = [
        1000 * float(np.linalg.norm(poses[-1, :3, 3] - twin.objects[name][-1, :3, 3]))
        for name, poses in real.objects.items()
        if name in twin.objects
    ]
    return ReplayError(
        demonstration=demonstration,
        replayed=replayed,
        position_mm=1000 * np.linalg.norm(apart, axis=-1),
        rotation_deg=np.degrees(Rotation.from_matrix(turn).magnitude()),
        gripper_s=_timing_s(demonstration.widths_m, replayed.widths_m, period_s),
        object_mm=max(ends) if ends else None,
        solved=replayed.succeeded if demonstration.succeeded else None,
    )


def crossings_s(widths_m: Array, level_m: float, period_s: float) -> list[tuple[float, bool]]:
    """Return when the opening crosses a level (s, interpolated), and whether it was opening."""
    above = widths_m > level_m
    found = []
    for i in np.flatnonzero(above[1:] != above[:-1]):
        share = (level_m - widths_m[i]) / (widths_m[i + 1] - widths_m[i])
        found.append((float((i + share) * period_s), bool(above[i + 1])))
    return found


def _timing_s(real_m: Array, twin_m: Array, period_s: float) -> float | None:
    """Return the largest difference in time of the crossings of the real range's middle."""
    low, high = float(real_m.min()), float(real_m.max())
    if high - low < MOVED_M:
        return None
    level = (low + high) / 2
    real, twin = (crossings_s(widths, level, period_s) for widths in (real_m, twin_m))
    if [opening for _, opening in real] != [opening for _, opening in twin]:
        return math.inf
    return max(abs(a - b) for (a, _), (b, _) in zip(real, twin, strict=True))


def verdicts(errors: Sequence[ReplayError], limits: Thresholds) -> list[Verdict]:
    """Return the verdicts on all replays of one task."""
    task, count = errors[0].demonstration.task, len(errors)
    position = np.concatenate([error.position_mm for error in errors])
    rotation = np.concatenate([error.rotation_deg for error in errors])
    arm = "identify the arm again (rlco-calibrate walk --steps arm): gain, delay and payload"
    found = [
        Verdict(
            name=f"{task} replay, position",
            level=limits.demo_position_mm.level(_rms(position)),
            measured=f"{count} replays are {_rms(position):.1f} mm off (rms), "
            f"{np.percentile(position, 95):.1f} mm at most in 95% of the steps",
            remedy=arm,
        ),
        Verdict(
            name=f"{task} replay, rotation",
            level=limits.demo_rotation_deg.level(_rms(rotation)),
            measured=f"{_rms(rotation):.2f} deg off (rms), "
            f"{np.percentile(rotation, 95):.2f} deg at most in 95% of the steps",
            remedy=arm,
        ),
    ]
    timing = [error.gripper_s for error in errors if error.gripper_s is not None]
    if timing:
        worst = float(np.percentile(timing, 90, method="lower"))
        told = (
            f"fingers move up to {worst:.2f} s apart in 90% of the replays"
            if math.isfinite(worst)
            else "fingers do not open and close as often as in reality"
        )
        found.append(
            Verdict(
                name=f"{task} replay, gripper",
                level=limits.gripper_s.level(worst),
                measured=told,
                remedy="measure the delay and the gripper's speed; are objects as wide as in the "
                "twin?",
            )
        )
    objects = [error.object_mm for error in errors if error.object_mm is not None]
    if objects:
        median = float(np.median(objects))
        found.append(
            Verdict(
                name=f"{task} replay, objects",
                level=limits.demo_object_mm.level(median),
                measured=f"objects end {median:.0f} mm (median) and up to {max(objects):.0f} mm "
                "from where they ended",
                remedy="measure sizes, masses and friction again",
            )
        )
    outcomes = [error.solved for error in errors if error.solved is not None]
    if outcomes:
        solved = sum(outcomes)
        found.append(
            Verdict(
                name=f"{task} replay, outcome",
                level=limits.outcome_missed.level(1 - solved / len(outcomes)),
                measured=f"{solved} of {len(outcomes)} successful demonstrations solve the task in "
                "the twin",
                remedy="look at the replays in check.html: where do the twin's objects go astray? "
                "Measure start poses, sizes and friction again",
            )
        )
    return found


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
