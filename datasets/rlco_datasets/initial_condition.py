"""Where everything stands at the start of an episode or a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_datasets.frames import pose_from_quaternion


@dataclass(frozen=True, kw_only=True)
class ObjectPose:
    """One object's pose in the base frame (m; unit quaternion w, x, y, z)."""

    name: str
    position_m: tuple[float, float, float]
    quaternion_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Check that the pose is finite and the quaternion of unit norm."""
        pose_from_quaternion(self.position_m, self.quaternion_wxyz)

    @property
    def T_base_object(self) -> NDArray[np.float64]:  # noqa: N802
        """The `(4, 4)` pose that maps object coordinates to the base frame."""
        return pose_from_quaternion(self.position_m, self.quaternion_wxyz)


@dataclass(frozen=True, kw_only=True)
class InitialCondition:
    """The start of one episode: the same for every policy that is compared on it.

    `tcp_position_m` is the TCP in the base frame, tool straight down, gripper open.
    `drawer_open` is the opened fraction of the drawer's travel, 0 where there is no drawer.
    """

    name: str
    task: str
    objects: tuple[ObjectPose, ...]
    tcp_position_m: tuple[float, float, float]
    drawer_open: float = 0.0

    def __post_init__(self) -> None:
        """Check that the drawer fraction is in [0, 1] and names are distinct."""
        if not 0 <= self.drawer_open <= 1:
            raise ValueError(f"{self.name}: drawer_open must be in [0, 1], got {self.drawer_open}")
        names = [item.name for item in self.objects]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: object names must be distinct, got {names}")


@dataclass(frozen=True, kw_only=True)
class ConditionList:
    """A file of initial conditions: what a study is made from."""

    conditions: tuple[InitialCondition, ...]

    def __post_init__(self) -> None:
        """Check that there is a condition and that names are distinct."""
        names = [condition.name for condition in self.conditions]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"condition names must be distinct and at least one, got {names}")
