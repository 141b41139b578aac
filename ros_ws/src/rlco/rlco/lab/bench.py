"""The simulated bench and its clock: advanced by commands, never by itself.

Time is simulated and only goes forward: one control period per step, and one per reset. An
observation at `stamp_ns` is answered by a pose and a gripper command with that same stamp; both
together move the bench on by one period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import InitialCondition

Array = NDArray[np.float64]


class Status(Protocol):
    """How a task stands."""

    @property
    def success(self) -> bool:
        """Whether the task is solved, settled and held."""

    @property
    def milestone(self) -> str:
        """The furthest milestone reached since the reset."""


class Scene(Protocol):
    """What the bench needs of `rlco_trainer.twin.scene.TwinScene`."""

    def reset(self, initial: InitialCondition) -> None:
        """Put everything in place."""

    def step_to(self, T_base_target: Array, gripper: float) -> None:
        """Go to a target `(4, 4)` with an opening in [0, 1] for one control period."""

    def status(self) -> Status:
        """Return how the task stands."""

    def source_frame(self, camera: str) -> NDArray[np.uint8]:
        """Return a camera's full frame `(H, W, 3)` RGB."""

    def object_poses(self) -> Mapping[str, Array]:
        """Return `T_base_object` by name."""

    @property
    def T_base_tcp(self) -> Array:  # noqa: N802
        """The measured TCP pose."""

    @property
    def gripper_width_m(self) -> float:
        """The measured opening."""

    @property
    def joint_positions_rad(self) -> Array:
        """The measured joints `(7,)`."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How the trial since the last reset stands.

    `success` stays true once the task's criterion was met, so that the result does not depend on
    when it is asked for; `steps` counts the periods until then, or until now.
    """

    success: bool
    milestone: str
    steps: int


class SimulatedBench:
    """A scene, its simulated clock, and the commands that are due."""

    def __init__(self, scene: Scene, contract: Contract, *, start_ns: int) -> None:
        """Take a scene that was reset; `start_ns` is the time of its first observation."""
        self.scene = scene
        self.stamp_ns = start_ns
        self._contract = contract
        self._pose: Array | None = None
        self._width_m: float | None = None
        self._held: tuple[Array, float] | None = None
        self.steps = 0
        self._solved: Score | None = None

    def reset(self, initial: InitialCondition) -> None:
        """Put the scene into an initial condition; the clock goes on by one period.

        Raises:
            ValueError: if the scene cannot be put into it; the scene then stays as it was.
        """
        self.scene.reset(initial)
        self._pose = self._width_m = self._held = self._solved = None
        self.steps = 0
        self.stamp_ns += self._contract.period_ns

    def offer_pose(self, stamp_ns: int, T_base_target: Array) -> bool:
        """Take a pose command; return False if it does not answer the current observation."""
        if stamp_ns != self.stamp_ns:
            return False
        self._pose = T_base_target
        return True

    def offer_width(self, stamp_ns: int, width_m: float) -> bool:
        """Take a gripper command; return False if it does not answer the current observation.

        Raises:
            ValueError: if the width is not finite.
        """
        if not np.isfinite(width_m):
            raise ValueError(f"gripper width must be finite, got {width_m}")
        if stamp_ns != self.stamp_ns:
            return False
        self._width_m = width_m
        return True

    @property
    def commanded(self) -> bool:
        """Whether both commands for the current observation are there."""
        return self._pose is not None and self._width_m is not None

    def advance(self) -> bool:
        """Go on by one period; return False if it was with the last target for want of a command.

        Without any command since the reset the arm stays where it is.
        """
        fresh = self.commanded
        pose, width_m = self._pose, self._width_m
        if pose is None or width_m is None:
            pose, width_m = self._held or (self.scene.T_base_tcp, self.scene.gripper_width_m)
        self._held = (pose, width_m)
        self._pose = self._width_m = None
        opening = min(max(width_m / self._contract.gripper_max_width_m, 0.0), 1.0)
        self.scene.step_to(pose, opening)
        self.steps += 1
        self.stamp_ns += self._contract.period_ns
        status = self.scene.status()
        if status.success and self._solved is None:
            self._solved = Score(success=True, milestone=status.milestone, steps=self.steps)
        return fresh

    def score(self) -> Score:
        """Return how the trial since the last reset stands."""
        if self._solved is not None:
            return self._solved
        return Score(success=False, milestone=self.scene.status().milestone, steps=self.steps)
