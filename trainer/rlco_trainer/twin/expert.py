"""A scripted expert: goes through a task's phases on privileged state, with noise if asked.

What is executed may be noisy; what is recorded as the label is the noise-free intention at the
state that the noise led to (DART: Laskey et al., "Noise Injection for Robust Imitation Learning",
2017), so that imitation learns to recover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import delta_between

from rlco_trainer.twin.control import clip_action
from rlco_trainer.twin.tasks import SceneView, task_named
from rlco_trainer.twin.tasks.base import Phase

MAX_RESTARTS = 4


@dataclass(frozen=True, kw_only=True)
class ExpertNoise:
    """Noise on the executed action, as fractions of the contract's largest steps.

    `precise` scales it in phases where the fingers are near something.
    """

    translation: float = 0.15
    rotation: float = 0.1
    precise: float = 0.15

    def __post_init__(self) -> None:
        """Check that nothing is negative."""
        if min(self.translation, self.rotation, self.precise) < 0:
            raise ValueError(f"expert noise must not be negative, got {self}")


NO_NOISE = ExpertNoise(translation=0.0, rotation=0.0, precise=0.0)


@dataclass(frozen=True, kw_only=True)
class ExpertAction:
    """One contract action `(7,) float32` twice: as executed, and as meant."""

    executed: NDArray[np.float32]
    clean: NDArray[np.float32]


class ExpertScene(SceneView, Protocol):
    """What an expert needs of a scene: its privileged state and its contract."""

    @property
    def contract(self) -> Contract:
        """What actions mean."""


def noisy_action(
    clean: NDArray[np.float64],
    contract: Contract,
    noise: ExpertNoise,
    rng: np.random.Generator,
    *,
    precise: bool,
) -> ExpertAction:
    """Return an action `(7,)` within the contract's limits, and the same with noise added."""
    clean = clip_action(clean, contract)
    scale = noise.precise if precise else 1.0
    spread = np.repeat(
        [
            noise.translation * contract.max_translation_m,
            noise.rotation * contract.max_rotation_rad,
        ],
        3,
    )
    executed = clean.copy()
    executed[:6] += scale * spread * rng.standard_normal(6)
    executed = clip_action(executed, contract)
    return ExpertAction(executed=executed.astype(np.float32), clean=clean.astype(np.float32))


class Expert:
    """Solves one episode of a task; make a new one for every episode."""

    def __init__(
        self,
        task: str,
        rng: np.random.Generator,
        noise: ExpertNoise = NO_NOISE,
        contract: Contract | None = None,
    ) -> None:
        """Take a task's name and the noise; `contract` limits the steps (else the scene's)."""
        self._phases = task_named(task).phases()
        self._rng, self._noise = rng, noise
        self._contract = contract
        self._index = 0
        self._steps = 0
        self._restarts = 0

    @property
    def done(self) -> bool:
        """Whether the last phase has ended; `act` then stays where it is."""
        return self._index >= len(self._phases)

    @property
    def phase(self) -> str:
        """The name of the phase that the next action belongs to, or "done"."""
        return "done" if self.done else self._phases[self._index].name

    def act(self, scene: ExpertScene) -> ExpertAction:
        """Return the action for the next control period."""
        contract = self._contract or scene.contract
        self._advance(scene)
        clean = np.zeros(7)
        phase = None if self.done else self._phases[self._index]
        if phase is None:
            clean[6] = self._phases[-1].gripper
        else:
            self._steps += 1
            clean[:6] = delta_between(scene.T_base_target, phase.goal(scene))
            clean[6] = phase.gripper
            length = float(np.linalg.norm(clean[:3]))
            if length > phase.max_step_m:
                clean[:3] *= phase.max_step_m / length
        if phase is None:
            return noisy_action(clean, contract, NO_NOISE, self._rng, precise=True)
        return noisy_action(clean, contract, self._noise, self._rng, precise=phase.precise)

    def _advance(self, scene: SceneView) -> None:
        """Go to the phase that fits the state: the next ones, or back to the first."""
        while not self.done:
            phase = self._phases[self._index]
            if phase.holds is not None and not phase.holds(scene):
                if self._restarts >= MAX_RESTARTS:
                    self._index = len(self._phases)
                    return
                self._restarts += 1
                self._index = self._steps = 0
                return
            if not self._finished(phase, scene):
                return
            self._index += 1
            self._steps = 0

    def _finished(self, phase: Phase, scene: SceneView) -> bool:
        if self._steps >= phase.max_steps:
            return True
        if self._steps < phase.min_steps:
            return False
        if phase.ends is not None:
            return phase.ends(scene)
        goal = phase.goal(scene)
        if np.linalg.norm(scene.T_base_tcp[:3, 3] - goal[:3, 3]) >= phase.tolerance_m:
            return False
        turn = delta_between(scene.T_base_tcp, goal)[3:]
        return bool(np.linalg.norm(turn) < phase.tolerance_rad)
