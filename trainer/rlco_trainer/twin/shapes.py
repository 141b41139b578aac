"""What a bench object is made of: boxes and discs, shared by physics and rendering.

Object frames: a box's origin is its centre; a bowl's the centre of its underside; a mark's its
centre on the table. z is up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sapien
from numpy.typing import NDArray
from rlco_calibration.parts import ObjectModel
from rlco_datasets.frames import pose_matrix
from scipy.spatial.transform import Rotation

BOWL_SIDES = 8
MARK_THICKNESS_M = 0.001


@dataclass(frozen=True, kw_only=True)
class Part:
    """A box (`size_m` = edge lengths) or an upright disc (diameter, diameter, thickness)."""

    kind: Literal["box", "disc"]
    size_m: tuple[float, float, float]
    T_object_part: NDArray[np.float64]
    solid: bool = True


def parts(model: ObjectModel) -> list[Part]:
    """Return the parts of an object, in its own frame."""
    if model.kind == "box":
        return [Part(kind="box", size_m=model.size_m, T_object_part=np.eye(4))]
    if model.kind == "mark":
        size = (model.size_m[0], model.size_m[0], MARK_THICKNESS_M)
        return [Part(kind="disc", size_m=size, T_object_part=np.eye(4), solid=False)]
    return _bowl(*model.size_m)


def upright(part: Part) -> Any:
    """Return the SAPIEN pose that turns a shape's axis up: its cylinders lie along x."""
    half = math.sqrt(0.5)
    return sapien.Pose(q=[half, 0.0, half, 0.0]) if part.kind == "disc" else sapien.Pose()


def bowl_inner_radius_m(model: ObjectModel) -> float:
    """Return the distance from a bowl's axis to the inside of its walls."""
    return model.size_m[0] / 2 - model.size_m[1]


def _bowl(diameter: float, wall: float, height: float) -> list[Part]:
    """Return a floor and an octagonal wall whose flats are `diameter` apart outside."""
    apothem = diameter / 2
    side = 2 * apothem * math.tan(math.pi / BOWL_SIDES)
    result = []
    for index in range(BOWL_SIDES):
        turn = Rotation.from_euler("z", index * 2 * math.pi / BOWL_SIDES).as_matrix()
        centre = turn @ np.array([apothem - wall / 2, 0.0, height / 2])
        size = (wall, side, height)
        result.append(Part(kind="box", size_m=size, T_object_part=pose_matrix(centre, turn)))
    floor = pose_matrix(np.array([0.0, 0.0, wall / 2]), np.eye(3))
    size = (diameter - wall, diameter - wall, wall)
    result.append(Part(kind="disc", size_m=size, T_object_part=floor))
    return result
