"""What a client's state numbers mean, and how they become the contract's state fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import rotation_to_6d
from scipy.spatial.transform import Rotation

Meaning = Literal[
    "tcp_position_m",
    "rotation_6d",
    "rotation_vector_rad",
    "euler_xyz_rad",
    "quaternion_wxyz",
    "quaternion_xyzw",
    "gripper_width_m",
    "gripper_fingers_m",
    "gripper_open_1",
    "gripper_closed_1",
    "unused",
]
"""Positions and rotations are those of the TCP in the robot base frame. `euler_xyz_rad`: about the
fixed x, then y, then z axis. `gripper_fingers_m`: the two fingers' positions, mirrored or not.
`gripper_open_1` and `gripper_closed_1`: the opening as a fraction, 1 = open or 1 = closed."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """`size` numbers become the contract's state field `field`; `width_m` is the fully open one."""

    field: str
    size: int
    convert: Callable[[Floats, float], Any]


def _six(rotation: Rotation) -> Floats:
    return np.asarray(rotation_to_6d(rotation.as_matrix()), np.float64)


CONVERSIONS: dict[str, Conversion] = {
    "tcp_position_m": Conversion(field="tcp_position", size=3, convert=lambda x, width_m: x),
    "rotation_6d": Conversion(field="tcp_rotation_6d", size=6, convert=lambda x, width_m: x),
    "rotation_vector_rad": Conversion(
        field="tcp_rotation_6d",
        size=3,
        convert=lambda x, width_m: _six(Rotation.from_rotvec(x)),
    ),
    "euler_xyz_rad": Conversion(
        field="tcp_rotation_6d",
        size=3,
        convert=lambda x, width_m: _six(Rotation.from_euler("xyz", x)),
    ),
    "quaternion_wxyz": Conversion(
        field="tcp_rotation_6d",
        size=4,
        convert=lambda x, width_m: _six(Rotation.from_quat(x[[1, 2, 3, 0]])),
    ),
    "quaternion_xyzw": Conversion(
        field="tcp_rotation_6d",
        size=4,
        convert=lambda x, width_m: _six(Rotation.from_quat(x)),
    ),
    "gripper_width_m": Conversion(field="gripper_width", size=1, convert=lambda x, width_m: x),
    "gripper_fingers_m": Conversion(
        field="gripper_width", size=2, convert=lambda x, width_m: np.abs(x).sum(keepdims=True)
    ),
    "gripper_open_1": Conversion(
        field="gripper_width", size=1, convert=lambda x, width_m: x * width_m
    ),
    "gripper_closed_1": Conversion(
        field="gripper_width", size=1, convert=lambda x, width_m: (1.0 - x) * width_m
    ),
}
"""By meaning; `unused` numbers have none."""
