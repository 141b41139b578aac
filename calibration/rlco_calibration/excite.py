"""Motions that tell what the arm's controller and friction are: slow first, in the workspace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import apply_delta, pose_matrix
from rlco_datasets.initial_condition import InitialCondition

from rlco_calibration.motion import TOOL_DOWN
from rlco_calibration.parts import Workspace
from rlco_calibration.port import BenchPort
from rlco_calibration.recording import Recording, Track

Array = NDArray[np.float64]

HOLD_PERIODS = (2, 3, 5)
SLOW_M, FAST_M = 0.01, 0.045
SLOW_RAD, FAST_RAD = 0.05, 0.2
PUSH_STEP_M = 0.045
PUSH_PERIODS = 4
BACK_PERIODS = 2
BEHIND_M = 0.075
REST_PERIODS = 14


def excitation(
    start_m: tuple[float, float, float], workspace: Workspace, rng: np.random.Generator, count: int
) -> Array:
    """Return `(count, 4, 4)` targets: jumps about a start, each held for a few periods.

    Jumps of position and of rotation, small ones first; every target keeps clear of the limits.
    """
    start = pose_matrix(start_m, TOOL_DOWN)
    low = np.maximum(np.array(workspace.low_m) + 0.04, np.array(start_m) - 0.08)
    high = np.minimum(np.array(workspace.high_m) - 0.04, np.array(start_m) + 0.08)
    targets: list[Array] = [start, start]
    while len(targets) < count:
        share = min(len(targets) / (0.5 * count), 1.0)
        jump_m = SLOW_M + share * (FAST_M - SLOW_M)
        jump_rad = SLOW_RAD + share * (FAST_RAD - SLOW_RAD)
        direction, axis = (rng.standard_normal(3) for _ in range(2))
        target = apply_delta(
            start,
            np.concatenate([np.zeros(3), jump_rad * axis / np.linalg.norm(axis)]),
        )
        moved = targets[-1][:3, 3] + jump_m * direction / np.linalg.norm(direction)
        target[:3, 3] = np.clip(moved, low, high)
        targets += [target] * int(rng.choice(HOLD_PERIODS))
    return np.stack(targets[:count])


def push(cube_m: tuple[float, float], height_m: float, towards_rad: float) -> tuple[Array, Array]:
    """Return the start position `(3,)` and targets `(N, 4, 4)` of a push that ends abruptly.

    The closed fingers speed up behind the object and are drawn back, so that it slides on without
    them: how far, its friction alone decides. Fingers that only stop are so slow to do so that the
    object stays with them.
    """
    along = np.array([np.cos(towards_rad), np.sin(towards_rad), 0.0])
    centre = np.array([*cube_m, height_m])
    start = centre - BEHIND_M * along
    gone = [*range(PUSH_PERIODS + 1), *range(PUSH_PERIODS - 1, PUSH_PERIODS - BACK_PERIODS, -1)]
    gone += [PUSH_PERIODS - BACK_PERIODS] * (REST_PERIODS + 1 - len(gone))
    goals = [start + PUSH_STEP_M * along * steps for steps in gone]
    return start, np.stack([pose_matrix(goal, TOOL_DOWN) for goal in goals])


def record(
    port: BenchPort, condition: InitialCondition, targets: Array, *, width_m: float
) -> Recording:
    """Lay out a condition, send the targets one a control period, and keep what happened."""
    port.lay_out(condition)
    return follow(port, condition, targets, width_m=width_m)


def follow(
    port: BenchPort, condition: InitialCondition, targets: Array, *, width_m: float
) -> Recording:
    """Send targets from a condition that was laid out just now, and keep what happened."""
    sent, poses, objects = [], [], []
    for target in targets:
        sent.append(port.command(target, width_m))
        poses.append(port.read().T_base_tcp)
        objects.append(port.objects())
    names = sorted(objects[0])
    return Recording(
        initial=condition,
        targets=np.stack(sent),
        widths_m=np.full(len(targets), width_m),
        track=Track(
            T_base_tcp=np.stack(poses),
            objects={name: np.stack([seen[name] for seen in objects]) for name in names},
        ),
    )
