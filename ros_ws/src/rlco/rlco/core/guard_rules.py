"""Geometry of the guard: the nearest set-point that keeps to the limits, and a smooth stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rlco.parameters.guard import GuardLimits

Array = NDArray[np.float64]

ROUNDING = 1e-6
"""A set-point may exceed a limit by this (m, rad): it was limited before, in other arithmetic."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Permitted:
    """The set-point that may be sent, and how far it is from the one asked for."""

    T_base_target: Array
    """`(4, 4)`, base frame; the very array that was asked for where nothing was limited."""
    moved_m: float = 0.0
    turned_rad: float = 0.0

    @property
    def limited(self) -> bool:
        """Whether it differs from what was asked."""
        return self.moved_m > 0 or self.turned_rad > 0


def permit(asked: Array, reference: Array, elapsed_s: float, limits: GuardLimits) -> Permitted:
    """Return the permitted set-point nearest to `asked`.

    Both poses are `(4, 4)` in the base frame; `reference` is the set-point before, `elapsed_s` the
    time from it to this one. A step that starts inside the workspace ends inside it; one that
    starts outside goes towards it.
    """
    position = _into_workspace(asked[:3, 3], limits)
    step_m = min(limits.max_step_m, limits.max_speed_m_s * elapsed_s)
    position = _towards(reference[:3, 3], position, step_m)
    step_rad = min(limits.max_step_rad, limits.max_speed_rad_s * elapsed_s)
    turn = Rotation.from_matrix(asked[:3, :3] @ reference[:3, :3].T).as_rotvec()
    limited_turn = _towards(np.zeros(3), turn, step_rad)
    moved_m = float(np.linalg.norm(position - asked[:3, 3]))
    turned_rad = float(np.linalg.norm(limited_turn - turn))
    if moved_m <= ROUNDING and turned_rad <= ROUNDING:
        return Permitted(T_base_target=asked)
    pose = asked.copy()
    pose[:3, 3] = position
    if turned_rad > ROUNDING:
        pose[:3, :3] = Rotation.from_rotvec(limited_turn).as_matrix() @ reference[:3, :3]
    return Permitted(T_base_target=pose, moved_m=moved_m, turned_rad=turned_rad)


def _into_workspace(position_m: Array, limits: GuardLimits) -> Array:
    """Return the nearest point of the box, lifted along the table's normal if it is too low.

    For a table that is tilted against the box, the lift has the last word.
    """
    inside = np.clip(position_m, limits.workspace_low_m, limits.workspace_high_m)
    normal = np.asarray(limits.table_normal)
    lacking_m = limits.table_height_m + limits.table_clearance_m - float(normal @ inside)
    return inside + max(lacking_m, 0.0) * normal


def _towards(start: Array, end: Array, length: float) -> Array:
    """Return `end`, or the point `length` from `start` on the way to it if that is nearer."""
    way = end - start
    distance = float(np.linalg.norm(way))
    return end if distance <= length + ROUNDING else start + way * (length / distance)


class StopRamp:
    """Set-points of a smooth stop, for a controller that holds the last one it was given.

    Blends from the last set-point to the pose that was measured when the stop was asked for, along
    a minimum-jerk profile (Flash and Hogan, "The Coordination of Arm Movements", 1985), so that an
    arm under impedance control neither jumps nor keeps pressing on what is in its way.
    """

    DURATION_S = 0.15

    def __init__(self, start: Array, end: Array, started_s: float) -> None:
        """Take both poses `(4, 4)`, base frame, and the time of the stop."""
        self._start, self._end = start, end
        self._turn = Rotation.from_matrix(end[:3, :3] @ start[:3, :3].T).as_rotvec()
        self._started_s = started_s

    def done(self, now_s: float) -> bool:
        """Whether the end has been reached."""
        return now_s - self._started_s >= self.DURATION_S

    def pose(self, now_s: float) -> Array:
        """Return the set-point `(4, 4)` for `now_s`."""
        t = min(max((now_s - self._started_s) / self.DURATION_S, 0.0), 1.0)
        share = t**3 * (10 - 15 * t + 6 * t**2)
        pose = self._end.copy()
        pose[:3, 3] = self._start[:3, 3] + share * (self._end[:3, 3] - self._start[:3, 3])
        pose[:3, :3] = Rotation.from_rotvec(share * self._turn).as_matrix() @ self._start[:3, :3]
        return pose
