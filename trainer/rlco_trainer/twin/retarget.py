"""Plays a source demonstration in a scene that starts differently.

Each leg is moved to where its object is when the leg begins; the way from one leg to the next is
straight, in steps that the contract allows.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import apply_delta, delta_between

from rlco_trainer.twin.expert import NO_NOISE, ExpertAction, ExpertNoise, ExpertScene, noisy_action
from rlco_trainer.twin.sources import Source
from rlco_trainer.twin.tasks import task_named

Array = NDArray[np.float64]

BRIDGE_SHARE = 0.8
"""Steps between legs, as a share of the contract's largest."""


class Retargeted:
    """Acts as `expert.Expert` does, along a source; make a new one for every episode."""

    def __init__(
        self, source: Source, rng: np.random.Generator, noise: ExpertNoise = NO_NOISE
    ) -> None:
        """Take the demonstration to follow, and noise on what is executed."""
        self._segments = task_named(source.task).segments()
        self._legs = source.legs
        self._rng, self._noise = rng, noise
        self._next = 0
        self._ahead: deque[tuple[Array, float, bool]] = deque()
        self._last: tuple[Array, float] | None = None

    @property
    def done(self) -> bool:
        """Whether the source has ended; `act` then stays where it is."""
        return not self._ahead and self._next >= len(self._legs)

    def act(self, scene: ExpertScene) -> ExpertAction:
        """Return the action for the next control period."""
        if not self._ahead and self._next < len(self._legs):
            self._plan(scene)
        if self._ahead:
            target, gripper, precise = self._ahead.popleft()
            self._last = target, gripper
        else:
            assert self._last is not None, "a source has at least one step"
            (target, gripper), precise = self._last, True
        clean = np.append(delta_between(scene.T_base_target, target), gripper)
        return noisy_action(clean, scene.contract, self._noise, self._rng, precise=precise)

    def _plan(self, scene: ExpertScene) -> None:
        """Queue the next leg where its object is now, and the way there."""
        leg, segment = self._legs[self._next], self._segments[self._next]
        targets = segment.frame(scene) @ leg.T_object_target
        opening = float(leg.gripper[0]) if self._last is None else self._last[1]
        for target in bridge(scene.T_base_target, targets[0], scene.contract):
            self._ahead.append((target, opening, False))
        self._ahead.extend(
            (target, float(gripper), True)
            for target, gripper in zip(targets, leg.gripper, strict=True)
        )
        self._next += 1


def bridge(T_base_from: Array, T_base_to: Array, contract: Contract) -> list[Array]:
    """Return the poses strictly between two, evenly spaced, in steps that the contract allows."""
    delta = delta_between(T_base_from, T_base_to)
    steps = max(
        float(np.linalg.norm(delta[:3])) / (BRIDGE_SHARE * contract.max_translation_m),
        float(np.linalg.norm(delta[3:])) / (BRIDGE_SHARE * contract.max_rotation_rad),
    )
    count = max(math.ceil(steps), 1)
    return [apply_delta(T_base_from, delta * (step / count)) for step in range(1, count)]
