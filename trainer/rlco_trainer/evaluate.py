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
from rlco_trainer.rollout import run_requests


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


@dataclass(frozen=True, kw_only=True)
class Job:
    """Episodes of one task: where they start, and the words that ask for it."""

    task: str
    instruction: str
    conditions: tuple[InitialCondition, ...]


def run_on_pool(
    pool: BatchPool,
    package: PolicyPackage,
    jobs: Sequence[Job],
    *,
    max_steps: int,
    explore: bool,
    seed: int = 0,
    shaping: float = 0.0,
    gamma: float = 1.0,
    keep_last_features: bool = False,
    randomised: bool = False,
) -> list[list[EpisodeReport]]:
    """Deal each job's conditions out over the workers; return each job's reports, by worker."""
    dealt: list[list[tuple[int, EpisodeRequest]]] = [[] for _ in range(len(pool))]
    for number, job in enumerate(jobs):
        workers = min(len(pool), len(job.conditions))
        for worker in range(workers):
            request = EpisodeRequest(
                policy=package,
                task=job.task,
                conditions=job.conditions[worker::workers],
                instruction=job.instruction,
                max_steps=max_steps,
                explore=explore,
                seed=seed * 1000 + 100 * number + worker,
                shaping=shaping,
                gamma=gamma,
                keep_last_features=keep_last_features,
                randomised=randomised,
            )
            dealt[worker].append((number, request))
    dealt = [part for part in dealt if part]
    answers = pool.map(run_requests, [(tuple(r for _, r in part),) for part in dealt])
    reports: list[list[EpisodeReport]] = [[] for _ in jobs]
    for part, answer in zip(dealt, answers, strict=True):
        for (number, _), report in zip(part, answer, strict=True):
            reports[number].append(report)
    return reports


def evaluate(
    pool: BatchPool, package: PolicyPackage, jobs: Sequence[Job], *, max_steps: int
) -> dict[str, Evaluation]:
    """Run every condition of every job once, without exploration; return results by task."""
    if not all(job.conditions for job in jobs):
        raise ValueError("an evaluation needs at least one initial condition of each task")
    reports = run_on_pool(pool, package, jobs, max_steps=max_steps, explore=False)
    return {
        job.task: _evaluation([outcome for report in part for outcome in report.outcomes])
        for job, part in zip(jobs, reports, strict=True)
    }


def _evaluation(outcomes: Sequence[EpisodeOutcome]) -> Evaluation:
    ordered = sorted(outcomes, key=lambda outcome: outcome.condition)
    successes = sum(outcome.success for outcome in ordered)
    interval = rate_interval(successes, len(ordered))
    return Evaluation(
        outcomes=tuple(ordered),
        successes=successes,
        episodes=len(ordered),
        success_rate=successes / len(ordered),
        low=interval.low,
        high=interval.high,
    )


def write_evaluation(path: Path, evaluation: Evaluation, about: dict[str, str]) -> None:
    """Write an evaluation as JSON, with what was evaluated."""
    write_text(path, json.dumps({**about, **asdict(evaluation)}, indent=2) + "\n")
