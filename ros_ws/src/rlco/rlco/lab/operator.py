"""The scripted operator: the trainer's expert, looking at the lab through topics only.

It knows the training twin (sizes, the table) and sees the arm's state and where the objects are.
Noise is added to what is executed; what was meant is told beside it, and is what a policy should
learn (DART: Laskey et al., "Noise Injection for Robust Imitation Learning", 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract
from rlco_datasets.frames import apply_delta
from rlco_trainer.twin.expert import Expert, ExpertNoise
from rlco_trainer.twin.tasks import task_named
from scipy.spatial.transform import Rotation

from rlco.core.targets import Target, TargetIntegrator

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the operator sees at one step; poses are `(4, 4)` in the base frame."""

    stamp_ns: int
    T_base_tcp: Array
    width_m: float
    objects: Mapping[str, Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """What is executed, and the pose that was meant."""

    executed: Target
    T_base_meant: Array


class LabView:
    """The lab as the expert sees it: `rlco_trainer.twin.expert.ExpertScene` from topics."""

    def __init__(self, twin: Twin, contract: Contract, integrator: TargetIntegrator) -> None:
        """Take the training twin and who knows the last target."""
        self.twin = twin
        self.contract = contract
        self._integrator = integrator
        self._seen: Seen | None = None
        self._before: Seen | None = None

    def look(self, seen: Seen) -> None:
        """Take in what is seen now."""
        self._before, self._seen = self._seen, seen

    @property
    def T_base_tcp(self) -> Array:  # noqa: N802
        """The measured TCP pose."""
        return self._now.T_base_tcp

    @property
    def T_base_target(self) -> Array:  # noqa: N802
        """The pose commanded last."""
        return self._integrator.target.T_base_target

    @property
    def gripper_width_m(self) -> float:
        """The measured opening."""
        return self._now.width_m

    def object_pose(self, name: str) -> Array:
        """Return `T_base_object`."""
        return self._now.objects[name]

    def object_speed(self, name: str) -> tuple[float, float]:
        """Return the mean linear (m/s) and angular (rad/s) speed since the last look."""
        if self._before is None:
            return 0.0, 0.0
        before, now = self._before.objects[name], self._now.objects[name]
        elapsed_s = (self._now.stamp_ns - self._before.stamp_ns) / 1e9
        turn = Rotation.from_matrix(now[:3, :3] @ before[:3, :3].T).magnitude()
        moved_m = float(np.linalg.norm(now[:3, 3] - before[:3, 3]))
        return moved_m / elapsed_s, float(turn) / elapsed_s

    def touch_force_n(self, name: str) -> tuple[float, float]:
        """Refuse: a bench does not publish contact forces.

        Raises:
            RuntimeError: always; an expert must do with what a person sees.
        """
        raise RuntimeError(f"the force on {name!r} is not known outside the simulator")

    @property
    def _now(self) -> Seen:
        assert self._seen is not None, "look() first"
        return self._seen


class ScriptedOperator:
    """Goes through one episode; make a new one for every episode."""

    def __init__(
        self, twin: Twin, contract: Contract, task: str, rng: np.random.Generator, *, noise: float
    ) -> None:
        """Take the training twin, and the noise as a share of the contract's largest step.

        Raises:
            ValueError: if the task is unknown.
        """
        low_m, high_m = twin.workspace.low_m, twin.workspace.high_m
        self._integrator = TargetIntegrator(contract, low_m, high_m)
        self._view = LabView(twin, contract, self._integrator)
        spread = ExpertNoise(translation=noise, rotation=noise * 2 / 3)
        self._expert = Expert(task, rng, spread, contract)
        self._last_phase = task_named(task).phases()[-1].name
        self._started = False

    @property
    def finishing(self) -> bool:
        """Whether the task may be solved by now, so that asking for the score makes sense."""
        return self._expert.phase in ("done", self._last_phase)

    def decide(self, seen: Seen) -> Decision:
        """Return the command for the step that is seen."""
        if not self._started:
            self._integrator.start(seen.T_base_tcp, seen.width_m)
            self._started = True
        self._view.look(seen)
        reference = self._integrator.target.T_base_target
        action = self._expert.act(self._view)
        meant = apply_delta(reference, action.clean[:6])
        return Decision(executed=self._integrator.advance(action.executed), T_base_meant=meant)
