"""Scenes without physics: an episode is solved once the hand has moved far enough along x."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rlco_datasets.contract import franka_compact
from rlco_datasets.initial_condition import InitialCondition
from rlco_trainer.evaluate import Job
from rlco_trainer.policies.compact import CompactConfig, CompactPolicy
from rlco_trainer.untrained import nominal_normalisation

GOAL_M = 0.02
CONTRACT = franka_compact()


def make_policy() -> CompactPolicy:
    """Return a random policy that hardly moves, its trunk frozen."""
    torch.manual_seed(0)
    policy = CompactPolicy(CONTRACT, nominal_normalisation(CONTRACT), CompactConfig())
    with torch.no_grad():
        policy.head[-1].weight.mul_(0.01)
        policy.head[-1].bias.zero_()
    policy.freeze_trunk()
    return policy


def make_conditions(n: int) -> tuple[InitialCondition, ...]:
    """Return `n` named conditions without objects."""
    return tuple(
        InitialCondition(name=f"start-{i:03d}", task="toy", objects=(), tcp_position_m=(0, 0, 0))
        for i in range(n)
    )


@dataclass(frozen=True, kw_only=True)
class ToySeen:
    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    privileged: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ToyStatus:
    milestone: str


class ToyBatch:
    """Speaks as `TwinBatch`; the picture is grey and the goal is `GOAL_M` along x."""

    def __init__(self, n: int) -> None:
        self.x_m = np.zeros(n)
        self.steps_taken = np.zeros(n, int)
        self.episodes: list[str] = []
        self.tasks: list[str] = []

    def for_task(self, task: str, *, randomised: bool = False) -> ToyBatch:
        """Return itself: a toy is the same whatever it is called."""
        self.tasks.append(task)
        return self

    def __len__(self) -> int:
        return len(self.x_m)

    def reset(self, rows: Sequence[int], initials: Sequence[InitialCondition]) -> None:
        for row, initial in zip(rows, initials, strict=True):
            self.x_m[row] = 0.0
            self.steps_taken[row] = 0
            self.episodes.append(initial.name)

    def observe(self, rows: Sequence[int]) -> ToySeen:
        state = np.zeros((len(rows), 10), np.float32)
        state[:, 0] = self.x_m[list(rows)]
        return ToySeen(
            images={"third_person": np.full((len(rows), 64, 64, 3), 128, np.uint8)},
            state=state,
            privileged=self.privileged(rows),
        )

    def privileged(self, rows: Sequence[int]) -> NDArray[np.float32]:
        return np.stack([self.x_m[list(rows)], np.ones(len(rows))], 1).astype(np.float32)

    def step(self, rows: Sequence[int], actions: NDArray[np.float32]) -> None:
        for row, action in zip(rows, actions, strict=True):
            assert not self.success([row])[0], "a solved episode is not stepped on"
            self.x_m[row] += action[0]
            self.steps_taken[row] += 1

    def success(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        return np.asarray(self.x_m[list(rows)] >= GOAL_M)

    def rewards(self, rows: Sequence[int]) -> NDArray[np.float32]:
        return np.clip(self.x_m[list(rows)] / GOAL_M, 0, 1).astype(np.float32)

    def status(self, rows: Sequence[int]) -> list[ToyStatus]:
        return [
            ToyStatus(milestone="success" if solved else "start") for solved in self.success(rows)
        ]


def make_job(n: int, task: str = "toy") -> Job:
    """Return a job over `make_conditions(n)`."""
    return Job(task=task, instruction="go", conditions=make_conditions(n))


class LocalPool:
    """Batches in this process, one after the other, in place of Ray workers."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = list(batches)
        self.calls = 0
        self.closed = False

    def __len__(self) -> int:
        return len(self.batches)

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.calls += 1
        pairs = zip(self.batches, arguments, strict=False)
        return [function(batch, *given) for batch, given in pairs]

    def close(self) -> None:
        self.closed = True
