"""A drawer by touch: how far and along what it slides, where its front and its handle are.

All touches are TCP positions (m, base frame), tool down. The fingers of a Franka hand are upright
boxes, so that a touch by a finger's side tells where the touched face is, at whatever height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import interval
from rlco_calibration.parts import Drawer, Table, Vector3
from rlco_calibration.results import Quantities, Quantity
from rlco_calibration.scene import TIP_M, TOUCH_STD_M

Array = NDArray[np.float64]
Side = Literal["grip", "outside", "inside"]

FINGER_HALF_DEPTH_M = 0.00875
"""From the TCP to the front or back face of the Franka hand's finger tips (17.5 mm deep)."""
FINGER_STD_M = 0.0003
"""Of the fingers' faces: their make, and a hand that is not quite square to what it touches."""
BAR_STD_M = 0.0003
"""How well calipers know the thickness of the handle's bar."""
ASIDE_STD_M = 0.003
"""How well a person meets the middle of a handle, along its bar."""
FURTHEST_M = 3.0
LEAST_TRAVEL_M = 0.02
LEAST_SPREAD_M = 0.005
"""Extent across their line that touches of the front must have."""
WORST_M = 0.004
SQUARE_RAD = np.radians(3.0)
LEVEL_RAD = np.radians(4.0)


@dataclass(frozen=True, kw_only=True)
class DrawerTouches:
    """Touches of one drawer.

    `closed_m` and `opened_m`: at the handle's bar, drawer closed and pulled out to its stop, twice
    or more each. How the bar was touched is said by `closed_side` and `opened_side`: `grip` (the
    fingers hold it: the TCP is at its middle), `outside` (closed fingers lean on it from the
    robot's side) or `inside` (they are hooked behind it). Only a handle that is gripped tells the
    direction in which it goes; else that is taken as square to the front. `between_m`: gripped on
    the way. `front_m`: closed fingers lean on the front of the closed drawer, three or more, not in
    a line. `top_m`: closed fingertips stand on the bar; they tell its height.
    """

    name: str
    closed_m: tuple[Vector3, ...]
    opened_m: tuple[Vector3, ...]
    front_m: tuple[Vector3, ...]
    top_m: tuple[Vector3, ...] = ()
    between_m: tuple[Vector3, ...] = ()
    closed_side: Side = "grip"
    opened_side: Side = "grip"
    finger_half_depth_m: float = FINGER_HALF_DEPTH_M
    tip_m: float = TIP_M

    @property
    def held(self) -> bool:
        """Whether the fingers held the handle, so that its way aside is told too."""
        return (self.closed_side, self.opened_side) == ("grip", "grip")


@dataclass(frozen=True, kw_only=True)
class DrawerFit:
    """A drawer as touched: unit vectors `(3,)`, points `(3,)` in the base frame, and numbers.

    `axis` points out of the cabinet; `front_m` is the foot of the bar's middle on the front.
    """

    axis: Array
    front_normal: Array
    front_m: Array
    handle_closed_m: Array
    handle_opened_m: Array
    measured: Quantities


def measure(touches: DrawerTouches, model: Drawer, table: Table, table_std_m: float) -> DrawerFit:
    """Return the drawer's travel, yaw, place and handle with 95% intervals.

    Args:
        touches: of this drawer.
        model: the drawer as the twin has it: depth of the cabinet and thickness of the bar are
            taken from it (calipers; `ruler.yaml`).
        table: on which the cabinet stands.
        table_std_m: standard uncertainty of the table's height.

    Raises:
        CalibrationError: naming what is too few, in a line, in another unit, or contradictory.
    """
    _check_counts(touches)
    closed, opened, between, front = (
        np.array(group, float).reshape(-1, 3)
        for group in (touches.closed_m, touches.opened_m, touches.between_m, touches.front_m)
    )
    rough = opened.mean(axis=0) - closed.mean(axis=0)
    if np.linalg.norm(rough) < LEAST_TRAVEL_M:
        raise CalibrationError(
            f"{_of(touches)}: closed and open handle are {1000 * np.linalg.norm(rough):.0f} mm "
            "apart. Pull the drawer out to its stop, and touch the handle there."
        )
    reach = touches.finger_half_depth_m + model.handle_size_m[2] / 2
    normal, normal_std = _front(touches, front, rough)
    closed = closed + _offset(touches.closed_side, reach) * normal
    opened = opened + _offset(touches.opened_side, reach) * normal
    if touches.held:
        axis, axis_std = _axis(touches, closed, opened, between)
        _check_square(touches, axis, normal, float(np.hypot(axis_std, normal_std)))
        weight = normal_std**2 / (axis_std**2 + normal_std**2)
        yaw_std = float(axis_std * normal_std / np.hypot(axis_std, normal_std))
    else:  # fingers that lean on a bar slide along it: they tell nothing of where it goes aside
        axis, weight, yaw_std = normal, 0.0, normal_std
        _check_same_place(touches, closed, opened, normal, model.handle_size_m[1])
    spread = _spread(closed, opened, axis)
    count = len(closed) + len(opened) - 2
    travel = float((opened.mean(axis=0) - closed.mean(axis=0)) @ axis)
    scatter = spread * np.sqrt(1 / len(closed) + 1 / len(opened))
    sides = touches.closed_side, touches.opened_side
    # what is wrong with finger and bar cancels where both ends are touched from one side
    reach_std = np.hypot(FINGER_STD_M, BAR_STD_M / 2)
    both = abs(_offset(sides[0], 1.0) - _offset(sides[1], 1.0)) * reach_std
    travel_std = float(np.sqrt(scatter**2 + 2 * TOUCH_STD_M**2 + both**2))
    yaw = _yaw(normal) + weight * _wrapped(_yaw(axis) - _yaw(normal))
    handle = closed.mean(axis=0)
    contact = front.mean(axis=0) - touches.finger_half_depth_m * normal
    distance = float((handle - contact) @ normal)
    foot = handle - distance * normal
    bar = model.handle_size_m[2]
    if not bar / 2 < distance < 0.3:
        raise CalibrationError(
            f"{_of(touches)}: the handle's bar is {1000 * distance:.0f} mm before the front. Were "
            "front and handle touched with the drawer closed, and the sides named as they were?"
        )
    face_std = float(
        np.sqrt(spread**2 / len(front) + TOUCH_STD_M**2 + FINGER_STD_M**2)
        + abs(_lever(front, handle, normal)) * normal_std
    )
    one = abs(_offset(sides[0], 1.0)) * reach_std
    bar_std = float(np.sqrt(spread**2 / len(closed) + TOUCH_STD_M**2 + one**2))
    centre = foot - normal * model.size_m[0] / 2
    aside = np.array([-normal[1], normal[0]])
    place_std = np.hypot(face_std * normal[:2], ASIDE_STD_M * aside)
    source = (
        f"{len(closed)} + {len(opened)} touches of the handle, closed and open, "
        f"{spread * 1000:.2f} mm rms"
    )
    by_front = f"{len(front)} touches of the front"
    prefix = f"drawers.{touches.name}"
    found = [
        _quantity(f"{prefix}.travel_m", travel, travel_std, count, source),
        _quantity(f"{prefix}.yaw_rad", yaw, yaw_std, count, f"{source}; {by_front}"),
        _quantity(f"{prefix}.position_m[0]", centre[0], place_std[0], count, by_front),
        _quantity(f"{prefix}.position_m[1]", centre[1], place_std[1], count, by_front),
        _quantity(
            f"{prefix}.handle_size_m[0]",
            distance + bar / 2,
            float(np.hypot(face_std, bar_std)),
            count,
            f"{by_front}; {source}",
        ),
    ]
    if touches.top_m:
        found.append(_height(touches, model, table, table_std_m))
    return DrawerFit(
        axis=axis,
        front_normal=normal,
        front_m=foot,
        handle_closed_m=handle,
        handle_opened_m=opened.mean(axis=0),
        measured=Quantities(quantities=tuple(found)),
    )


def _of(touches: DrawerTouches) -> str:
    return f"drawer {touches.name!r}"


def _check_counts(touches: DrawerTouches) -> None:
    groups = {
        "closed_m": (touches.closed_m, 2),
        "opened_m": (touches.opened_m, 2),
        "front_m": (touches.front_m, 3),
        "top_m": (touches.top_m, 0),
        "between_m": (touches.between_m, 0),
    }
    for field, (points, least) in groups.items():
        if len(points) < least:
            raise CalibrationError(
                f"{_of(touches)}: {len(points)} touches in {field}, at least {least} are needed"
            )
        for index, point in enumerate(points):
            if max(abs(value) for value in point) > FURTHEST_M:
                raise CalibrationError(
                    f"{_of(touches)}: touch {index + 1} of {field} is at {point} m, further than "
                    f"{FURTHEST_M} m. Millimetres? Give metres."
                )
    if touches.between_m and not touches.held:
        raise CalibrationError(
            f"{_of(touches)}: between_m needs the handle gripped at the ends too"
        )


def _offset(side: Side, reach_m: float) -> float:
    """Return how far out of the TCP the bar's middle is, along the front's outward normal."""
    return {"grip": 0.0, "outside": -reach_m, "inside": reach_m}[side]


def _front(touches: DrawerTouches, front: Array, rough: Array) -> tuple[Array, float]:
    """Return the outward level normal `(3,)` of the front, and the std of its direction (rad)."""
    middle = front.mean(axis=0)
    _, size, directions = np.linalg.svd(front - middle)
    if size[1] < LEAST_SPREAD_M:
        raise CalibrationError(
            f"{_of(touches)}: the touches of the front lie in one line. Touch it left and right, "
            "and at another height."
        )
    normal = directions[2] * np.sign(directions[2] @ rough)
    residual = (front - middle) @ normal
    if np.abs(residual).max() > WORST_M:
        worst = _odd_one(front, residual)
        raise CalibrationError(
            f"{_of(touches)}: touch {worst + 1} of the front, at "
            f"({', '.join(f'{v:.3f}' for v in front[worst])}) m, is {residual[worst] * 1000:+.1f} "
            "mm off the plane of the others. Was it the handle that was touched? Touch again."
        )
    lean = abs(float(np.arcsin(np.clip(normal[2], -1, 1))))
    if lean > LEVEL_RAD + 3 * TOUCH_STD_M / size[1]:
        raise CalibrationError(
            f"{_of(touches)}: the front leans by {np.degrees(lean):.1f} deg; the twin's is "
            "upright. Was the drawer closed, and the tool straight down?"
        )
    level = normal * [1.0, 1.0, 0.0]
    level = level / np.linalg.norm(level)
    along = np.array([-level[1], level[0], 0.0])
    extent = float(np.linalg.norm((front - middle) @ along))
    if extent < 2 * LEAST_SPREAD_M:
        raise CalibrationError(
            f"{_of(touches)}: the touches of the front lie in one upright line. Touch it left and "
            "right too."
        )
    rms = float(np.sqrt(residual @ residual / max(len(front) - 3, 1)))
    return level, float(np.hypot(TOUCH_STD_M, rms)) / extent


def _odd_one(points: Array, residual: Array) -> int:
    """Return which point the others agree best without; of four, the one furthest off."""
    if len(points) < 5:
        return int(np.argmax(np.abs(residual)))
    rest = [np.delete(points, index, axis=0) for index in range(len(points))]
    return int(np.argmin([np.linalg.svd(part - part.mean(axis=0))[1][2] for part in rest]))


def _axis(
    touches: DrawerTouches, closed: Array, opened: Array, between: Array
) -> tuple[Array, float]:
    """Return the level axis `(3,)` of a handle that was held, and the std of its yaw (rad)."""
    everything = np.concatenate([closed, between, opened])
    middle = everything.mean(axis=0)
    axis = np.linalg.svd(everything - middle)[2][0]
    axis = axis * np.sign(axis @ (opened.mean(axis=0) - closed.mean(axis=0)))
    slope = abs(float(np.arcsin(np.clip(axis[2], -1, 1))))
    if slope > LEVEL_RAD:
        raise CalibrationError(
            f"{_of(touches)}: the handle goes up or down by {np.degrees(slope):.1f} deg on its "
            "way. Did it slip in the fingers? Touch it at one height, or level the cabinet."
        )
    level = axis * [1.0, 1.0, 0.0]
    level = level / np.linalg.norm(level)
    aside = (everything - middle) @ np.array([-level[1], level[0], 0.0])
    worst = int(np.argmax(np.abs(aside)))
    if abs(aside[worst]) > 2.5 * WORST_M:
        raise CalibrationError(
            f"{_of(touches)}: touch {worst + 1} of the handle is {aside[worst] * 1000:+.1f} mm off "
            "the line of the others. Touch the same place of the handle every time."
        )
    free = max(len(everything) - 2, 1)
    across = float(np.sqrt(aside @ aside / free))
    lever = float(np.linalg.norm((everything - middle) @ level))
    return level, float(np.hypot(across, TOUCH_STD_M)) / lever


def _spread(closed: Array, opened: Array, axis: Array) -> float:
    """Return how far touches of one place scatter along the axis, m."""
    ends = np.concatenate([group @ axis - (group @ axis).mean() for group in (closed, opened)])
    return float(np.sqrt(ends @ ends / (len(ends) - 2)))


def _check_same_place(
    touches: DrawerTouches, closed: Array, opened: Array, normal: Array, handle_m: float
) -> None:
    moved = opened.mean(axis=0) - closed.mean(axis=0)
    off = float(np.linalg.norm(moved - (moved @ normal) * normal))
    if off > handle_m / 2:
        raise CalibrationError(
            f"{_of(touches)}: from closed to open the handle was touched {off * 1000:.0f} mm off "
            "the line square to the front. Touch the middle of the handle each time."
        )


def _check_square(touches: DrawerTouches, axis: Array, normal: Array, std: float) -> None:
    angle = float(np.arccos(np.clip(axis @ normal, -1, 1)))
    if angle > SQUARE_RAD + 2 * std:
        raise CalibrationError(
            f"{_of(touches)}: it slides {np.degrees(angle):.1f} deg off square to its front "
            f"(+-{np.degrees(2 * std):.1f}). Was the front touched with the drawer closed, and the "
            "handle at the same place, closed and open?"
        )


def _yaw(outward: Array) -> float:
    """Return the yaw of the cabinet, whose x axis points inwards."""
    return float(np.arctan2(-outward[1], -outward[0]))


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _lever(front: Array, handle: Array, normal: Array) -> float:
    along = np.array([-normal[1], normal[0], 0.0])
    return float((handle - front.mean(axis=0)) @ along)


def _height(touches: DrawerTouches, model: Drawer, table: Table, table_std_m: float) -> Quantity:
    heights = np.array(touches.top_m, float)[:, 2]
    count = len(heights)
    spread = float(heights.std(ddof=1)) if count > 1 else 0.0
    value = float(heights.mean()) - touches.tip_m - model.handle_size_m[2] / 2 - table.height_m
    std = float(np.sqrt(spread**2 / count + TOUCH_STD_M**2 + table_std_m**2 + BAR_STD_M**2 / 4))
    return _quantity(
        f"drawers.{touches.name}.handle_height_m",
        value,
        std,
        max(count - 1, 2),
        f"{count} touches of the bar from above, and the table",
    )


def _quantity(name: str, value: float, std: float, degrees: float, source: str) -> Quantity:
    low, high = interval(float(value), float(std), degrees)
    return Quantity(
        name=name, value=float(value), std=float(std), low=low, high=high, source=source
    )
