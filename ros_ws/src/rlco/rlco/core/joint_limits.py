"""Joint limits of the arms, and how close a posture is to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class JointLimits:
    """Lowest and highest position of each of the seven joints (rad)."""

    low_rad: tuple[float, ...]
    high_rad: tuple[float, ...]

    def margins_rad(self, positions_rad: ArrayLike) -> NDArray[np.float64]:
        """Return how far each joint `(7,)` is inside its limits; negative: outside.

        Raises:
            ValueError: if there are not seven finite positions.
        """
        positions = np.asarray(positions_rad, float)
        if positions.shape != (len(self.low_rad),) or not np.isfinite(positions).all():
            raise ValueError(f"expected 7 finite joint positions (rad), got {positions.tolist()}")
        low, high = np.asarray(self.low_rad), np.asarray(self.high_rad)
        return np.asarray(np.minimum(positions - low, high - positions), float)


JOINT_LIMITS = {
    # libfranka's robot description of the FR3
    "fr3": JointLimits(
        low_rad=(-2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.5409, -3.0196),
        high_rad=(2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196),
    ),
    # Franka's documentation of the Panda (FER)
    "panda": JointLimits(
        low_rad=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        high_rad=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    ),
}
