"""Deterministic success rate of a policy in a twin, over stated initial conditions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from rlco_datasets.initial_condition import InitialCondition
from rlco_evaluation.statistics import rate_interval

from rlco_trainer.atomic import write_text
from rlco_trainer.episodes import EpisodeOutcome, EpisodeReport, EpisodeRequest, PolicyPackage
from rlco_trainer.rollout import run_episodes


class BatchPool(Protocol):
    """Workers that each own a batch of scenes of one task, as `rlco_trainer.twin.workers`."""

    def __len__(self) -> int:
        """Return the number of workers."""

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run `function(batch, *arguments[i])` in worker i, at once, and return the answers."""

    def close(self) -> None:
        """End the workers."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Outcomes per condition and the success rate with its 95% Wilson interval."""

    outcomes: tuple[EpisodeOutcome, ...]
    successes: int
    episodes: int
    success_rate: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it for people."""
        return (
            f"{self.successes} of {self.episodes} solved: {self.success_rate:.3f} "
            f"(95% interval {self.low:.3f} to {self.high:.3f})"
        )


def run_on_pool(
    pool: BatchPool,
    package: PolicyPackage,
    conditions: Sequence[InitialCondition],
    *,
    instruction: str,
    max_steps: int,
    explore: bool,
    seed: int = 0,
    shaping: float = 0.0,
    gamma: float = 1.0,
) -> list[EpisodeReport]:
    """Deal the conditions out over the workers and return their reports, worker by worker."""
    workers = min(len(pool), len(conditions))
    requests = [
        EpisodeRequest(
            policy=package,
            conditions=tuple(conditions[worker::workers]),
            instruction=instruction,
            max_steps=max_steps,
            explore=explore,
            seed=seed * 1000 + worker,
            shaping=shaping,
            gamma=gamma,
        )
        for worker in range(workers)
    ]
    return list(pool.map(run_episodes, [(request,) for request in requests]))


def evaluate(
    pool: BatchPool,
    package: PolicyPackage,
    conditions: Sequence[InitialCondition],
    *,
    instruction: str,
    max_steps: int,
) -> Evaluation:
    """Run every condition once, without exploration."""
    if not conditions:
        raise ValueError("an evaluation needs at least one initial condition")
    reports = run_on_pool(
        pool, package, conditions, instruction=instruction, max_steps=max_steps, explore=False
    )
    outcomes = sorted((o for r in reports for o in r.outcomes), key=lambda o: o.condition)
    successes = sum(outcome.success for outcome in outcomes)
    interval = rate_interval(successes, len(outcomes))
    return Evaluation(
        outcomes=tuple(outcomes),
        successes=successes,
        episodes=len(outcomes),
        success_rate=successes / len(outcomes),
        low=interval.low,
        high=interval.high,
    )


def write_evaluation(path: Path, evaluation: Evaluation, about: dict[str, str]) -> None:
    """Write an evaluation as JSON, with what was evaluated."""
    write_text(path, json.dumps({**about, **asdict(evaluation)}, indent=2) + "\n")
