"""A motion that tells how a drawer slides: pushed towards shut by its handle, then let go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import pose_matrix

from rlco_calibration.drawer import FINGER_HALF_DEPTH_M
from rlco_calibration.motion import TOOL_DOWN, Pace, steps
from rlco_calibration.parts import Drawer

Array = NDArray[np.float64]

PERIODS = (9, 6, 4, 3, 2)
"""Control periods that each push takes, slow first: at a constant speed each."""
STROKE = 0.8
"""Share of the drawer's travel that the fingers are sent on beyond the handle, at most."""
LONGEST_STEP_M = 0.045
GAP_M = 0.012
"""How far before the bar a push begins: the fingers meet it before they are fast."""
AWAY_M = 0.035
"""How far before the bar the fingers go down."""
OVER_M = 0.07
"""How far over the top of the cabinet the fingers travel."""
BACK_PERIODS = 2
REST_PERIODS, SETTLE_PERIODS = 8, 5


def square_to(yaw_rad: float) -> Array:
    """Return the rotation `(3, 3)` of a hand, tool down, square to a front that faces a yaw.

    A hand turned half is the same: the one that turns the wrist less.
    """
    half = (yaw_rad + np.pi / 2) % np.pi - np.pi / 2
    c, s = np.cos(half), np.sin(half)
    return np.asarray(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ TOOL_DOWN)


def slide(start: Array, handle_m: Array, model: Drawer, *, floor_m: float, periods: int) -> Array:
    """Return targets `(N, 4, 4)`: over the handle, down before it, push, let go, rest, and up.

    While the fingers push at a constant speed the arm stays behind by what the drawer's resistance
    bends it; drawn back, they let the drawer coast on its own. Both are told by its friction.

    Args:
        start: the TCP pose now, `(4, 4)`, base frame.
        handle_m: middle of the open handle's bar, `(3,)`, base frame.
        model: the drawer as known so far; its yaw says which way is in.
        floor_m: height of what the cabinet stands on, base frame.
        periods: control periods that the push takes.
    """
    along = np.array([np.cos(model.yaw_rad), np.sin(model.yaw_rad), 0.0])
    rotation = square_to(model.yaw_rad)
    touching = handle_m - (FINGER_HALF_DEPTH_M + model.handle_size_m[2] / 2) * along

    def at(ahead_m: float) -> Array:
        return pose_matrix(touching + ahead_m * along, rotation)

    over = at(-AWAY_M)
    over[2, 3] = floor_m + model.size_m[2] + OVER_M
    targets = [*steps(start, over, Pace()), *[over] * SETTLE_PERIODS]
    for pose in (at(-AWAY_M), at(-GAP_M)):
        targets += [*steps(targets[-1], pose, Pace()), *[pose] * SETTLE_PERIODS]
    step = min((STROKE * model.travel_m + GAP_M) / periods, LONGEST_STEP_M)
    gone = [*range(1, periods + 1), *range(periods - 1, periods - 1 - BACK_PERIODS, -1)]
    targets += [at(step * count - GAP_M) for count in gone]
    targets += [targets[-1]] * REST_PERIODS
    up = targets[-1].copy()
    up[2, 3] = over[2, 3]
    return np.stack([*targets, *steps(targets[-1], up, Pace())])
