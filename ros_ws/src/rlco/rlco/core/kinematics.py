"""Forward kinematics of the Franka arms, for leader devices that give joint angles.

Denavit-Hartenberg parameters in Craig's convention, and the flange, from Franka's "Robot and
interface specifications" of the Franka Control Interface; FR3 and Panda share them. The hand is
turned by -45 degrees against the flange and its TCP lies 0.1034 m from it, as in franka_description
(hand's tcp offset).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

A_M = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
"""Link length `a` before each joint (m)."""
D_M = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
"""Offset `d` along each joint's axis (m)."""
ALPHA_RAD = (0.0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2)
"""Twist `alpha` before each joint."""
FLANGE_M = 0.107
HAND_TURN_RAD = -np.pi / 4
HAND_TCP_M = 0.1034


def dh_link(a_m: float, d_m: float, alpha_rad: float, theta_rad: float) -> Array:
    """Return the `(4, 4)` pose of a link in the one before it (Craig, 3rd ed., eq. 3.6)."""
    ca, sa, ct, st = np.cos(alpha_rad), np.sin(alpha_rad), np.cos(theta_rad), np.sin(theta_rad)
    return np.array(
        [
            [ct, -st, 0.0, a_m],
            [st * ca, ct * ca, -sa, -sa * d_m],
            [st * sa, ct * sa, ca, ca * d_m],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def flange_pose(joints_rad: ArrayLike) -> Array:
    """Return `T_base_flange` `(4, 4)` for joint angles `(7,)`.

    Raises:
        ValueError: if there are not seven finite angles.
    """
    angles = np.asarray(joints_rad, float)
    if angles.shape != (7,) or not np.isfinite(angles).all():
        raise ValueError(f"expected 7 finite joint angles (rad), got {angles.tolist()}")
    pose = np.eye(4)
    for a_m, d_m, alpha_rad, theta_rad in zip(A_M, D_M, ALPHA_RAD, angles, strict=True):
        pose = pose @ dh_link(a_m, d_m, alpha_rad, float(theta_rad))
    return pose @ dh_link(0.0, FLANGE_M, 0.0, 0.0)


def tcp_pose(joints_rad: ArrayLike) -> Array:
    """Return `T_base_tcp` `(4, 4)`, between the Franka Hand's fingertips.

    Raises:
        ValueError: as `flange_pose`.
    """
    return flange_pose(joints_rad) @ dh_link(0.0, HAND_TCP_M, 0.0, HAND_TURN_RAD)
