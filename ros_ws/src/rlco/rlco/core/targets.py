"""From a policy's relative actions to absolute targets, refusing what no arm should be sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rlco_datasets.contract import ACTION_DIM, Contract
from rlco_datasets.frames import apply_delta

Array = NDArray[np.float64]


class UnsafeActionError(ValueError):
    """An action may not be executed; the arm holds its last target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Where the arm and the gripper are to go."""

    T_base_target: Array
    """`(4, 4)`, base frame."""
    width_m: float
    """Opening between the fingers."""


class TargetIntegrator:
    """Composes deltas onto the previous target, as the contract says.

    The same limits as in the twin: a longer step is shortened to the contract's maximum, a target
    outside the workspace is moved to its nearest point, and the result is the next reference.
    """

    def __init__(self, contract: Contract, low_m: ArrayLike, high_m: ArrayLike) -> None:
        """Take the contract and the corners of the workspace box (m, base frame)."""
        self._contract = contract
        self._low_m, self._high_m = np.asarray(low_m, float), np.asarray(high_m, float)
        if self._low_m.shape != (3,) or not (self._low_m < self._high_m).all():
            raise ValueError(
                f"workspace: low {self._low_m} must be below high {self._high_m}, 3 numbers"
            )
        self._target: Target | None = None

    def start(self, T_base_tcp: ArrayLike, width_m: float) -> None:
        """Take the measured pose and opening as the first reference."""
        pose = np.array(T_base_tcp, float)
        if pose.shape != (4, 4) or not np.isfinite(pose).all() or not np.isfinite(width_m):
            raise UnsafeActionError(
                f"measured state is not finite: pose {pose.tolist()}, width {width_m}. "
                "Check the arm's state broadcaster."
            )
        self._target = Target(T_base_target=pose, width_m=float(width_m))

    @property
    def target(self) -> Target:
        """The target in force.

        Raises:
            UnsafeActionError: if `start` was not called.
        """
        if self._target is None:
            raise UnsafeActionError("no measured pose to start from yet")
        return self._target

    def advance(self, action: ArrayLike) -> Target:
        """Return the target that a contract action `(7,)` asks for; it is the next reference.

        Raises:
            UnsafeActionError: if the action has another shape or a value that is not finite; the
                target in force stays as it was.
        """
        values = np.array(action, float)
        if values.shape != (ACTION_DIM,) or not np.isfinite(values).all():
            raise UnsafeActionError(
                f"refused action {values.tolist()}: expected {ACTION_DIM} finite numbers "
                "(m, rad, gripper opening). Check the policy and its normalisation."
            )
        values[:6] = shortened(
            values[:6], self._contract.max_translation_m, self._contract.max_rotation_rad
        )
        pose = apply_delta(self.target.T_base_target, values[:6])
        pose[:3, 3] = np.clip(pose[:3, 3], self._low_m, self._high_m)
        opening = min(max(float(values[6]), 0.0), 1.0)
        self._target = Target(
            T_base_target=pose, width_m=opening * self._contract.gripper_max_width_m
        )
        return self._target


def shortened(delta: Array, limit_m: float, limit_rad: float) -> Array:
    """Return a delta `(6,)` whose translation and rotation are no longer than the limits."""
    result = np.array(delta, float)
    for part, limit in ((slice(0, 3), limit_m), (slice(3, 6), limit_rad)):
        length = float(np.linalg.norm(result[part]))
        if length > limit:
            result[part] *= limit / length
    return result
