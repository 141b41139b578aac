"""How commanded target poses become the pose that the arm's controller follows."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.parts import ArmController, Workspace
from rlco_datasets.contract import Contract
from rlco_datasets.frames import apply_delta, delta_between

Array = NDArray[np.float64]


def clip_action(action: NDArray[np.floating], contract: Contract) -> Array:
    """Return a contract action `(7,)` with its steps no longer than the contract allows.

    Raises:
        ValueError: if the shape is not (7,) or a value is not finite.
    """
    clipped = np.array(action, float)
    if clipped.shape != (7,) or not np.isfinite(clipped).all():
        raise ValueError(
            f"action must be 7 finite numbers (m, rad, gripper opening), got {clipped.tolist()}. "
            "Check the policy's output and its normalisation."
        )
    for part, limit in (
        (slice(0, 3), contract.max_translation_m),
        (slice(3, 6), contract.max_rotation_rad),
    ):
        length = float(np.linalg.norm(clipped[part]))
        if length > limit:
            clipped[part] *= limit / length
    clipped[6] = min(max(clipped[6], 0.0), 1.0)
    return clipped


def clip_to_workspace(T_base_target: Array, workspace: Workspace) -> Array:
    """Return the target pose with its position moved to the nearest point of the workspace."""
    clipped = np.array(T_base_target, float)
    clipped[:3, 3] = np.clip(clipped[:3, 3], workspace.low_m, workspace.high_m)
    return clipped


class TargetFollower:
    """The delay and lag of `ArmController` between a command and what the arm is sent.

    The delay is quantised to physics substeps. The lag acts once per command, when the command
    comes into force; it applies to the pose, not to the gripper.
    """

    def __init__(self, arm: ArmController, substep_s: float) -> None:
        """Take the controller's delay and gain and the length of one substep."""
        self._gain = arm.gain
        self._delay_substeps = round(arm.delay_s / substep_s)
        self._queue: deque[tuple[int, Array, float]] = deque()
        self._substep = 0
        self._followed = np.eye(4)

    def reset(self, T_base_tcp: Array) -> None:
        """Start at rest at a pose, with nothing in flight."""
        self._queue.clear()
        self._substep = 0
        self._followed = np.array(T_base_tcp, float)

    def command(self, T_base_target: Array, gripper: float) -> None:
        """Send a target pose `(4, 4)` and a gripper opening in [0, 1]."""
        self._queue.append((self._substep + self._delay_substeps, T_base_target, gripper))

    def tick(self) -> tuple[Array, float] | None:
        """Go on by one substep; return the pose and opening to follow if they changed."""
        changed = None
        while self._queue and self._queue[0][0] <= self._substep:
            _, target, gripper = self._queue.popleft()
            if self._gain < 1.0:
                step = self._gain * delta_between(self._followed, target)
                target = apply_delta(self._followed, step)
            self._followed = target
            changed = (target, gripper)
        self._substep += 1
        return changed
