"""Episodes of a policy in many scenes at once: the worker's half of stage II and of evaluation.

One action chunk is one decision. Pictures are taken once a chunk, inference is batched over the
scenes of a worker, and a scene whose episode has ended starts the next one at the next chunk.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rlco_datasets.initial_condition import InitialCondition

from rlco_trainer.episodes import EpisodeOutcome, EpisodeReport, EpisodeRequest, Experience, Floats
from rlco_trainer.policies.interface import Features, Observation, Policy


class Status(Protocol):
    """How far an episode has come, as a task tells it."""

    @property
    def milestone(self) -> str:
        """The furthest milestone reached."""


class Seen(Protocol):
    """What a batch of scenes shows; arrays lead with the rows asked for."""

    @property
    def images(self) -> dict[str, NDArray[np.uint8]]:
        """`(B, H, W, 3) uint8` by camera."""

    @property
    def state(self) -> Floats:
        """`(B, S)`, contract units."""

    @property
    def privileged(self) -> Floats:
        """`(B, P)`, what only the critic may know."""


class SceneBatch(Protocol):
    """Many scenes of one task, as `rlco_trainer.twin.batch.TwinBatch`."""

    def for_task(self, task: str, *, randomised: bool = False) -> SceneBatch:
        """Return as many scenes of a task of the same twin, built on first use.

        With `randomised`, each is of a bench drawn within the twin's uncertainties.
        """

    def __len__(self) -> int:
        """Return the number of scenes."""

    def reset(self, rows: Sequence[int], initials: Sequence[InitialCondition]) -> None:
        """Start an episode in each row."""

    def observe(self, rows: Sequence[int]) -> Seen:
        """Render and return what is seen."""

    def privileged(self, rows: Sequence[int]) -> Floats:
        """Return `(B, P)` without rendering."""

    def step(self, rows: Sequence[int], actions: Floats) -> None:
        """Apply one contract action `(7,)` to each row, for one control period."""

    def success(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Return whether each row is solved and has been for the hold time."""

    def rewards(self, rows: Sequence[int]) -> Floats:
        """Return each row's shaped reward in [0, 1]."""

    def status(self, rows: Sequence[int]) -> Sequence[Status]:
        """Return how far each row has come."""


@dataclass(kw_only=True)
class _Running:
    """An episode under way; `index` is its place in the request."""

    index: int
    condition: InitialCondition
    steps: int = 0
    chunks: int = 0
    success: bool = False
    milestone: str = ""
    last_privileged: Floats | None = None
    last_features: dict[str, NDArray[Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class _Chunks:
    """One decision for the rows under way, as PPO needs it."""

    index: NDArray[np.int64]
    features: dict[str, NDArray[Any]]
    latent: NDArray[Any]
    log_prob: Floats
    privileged: Floats
    reward: Floats


def run_requests(
    batch: SceneBatch, requests: Sequence[EpisodeRequest]
) -> tuple[EpisodeReport, ...]:
    """Run requests one after the other, each in scenes of its own task."""
    return tuple(
        run_episodes(batch.for_task(request.task, randomised=request.randomised), request)
        for request in requests
    )


def run_episodes(batch: SceneBatch, request: EpisodeRequest) -> EpisodeReport:
    """Run every condition of `request` once, in the scenes of `batch`."""
    policy = request.policy.unpack()
    generator = torch.Generator().manual_seed(request.seed)
    waiting = deque(_Running(index=i, condition=c) for i, c in enumerate(request.conditions))
    running: dict[int, _Running] = {}
    finished: list[_Running] = []
    decided: list[_Chunks] = []
    seconds = dict.fromkeys(("simulation", "rendering", "inference"), 0.0)
    while waiting or running:
        clock = time.perf_counter()
        for row in range(len(batch)):
            if row not in running and waiting:
                running[row] = waiting.popleft()
                batch.reset([row], [running[row].condition])
        rows = sorted(running)
        before = _potential(batch, rows, request)
        clock = _lap(seconds, "simulation", clock)
        seen = batch.observe(rows)
        clock = _lap(seconds, "rendering", clock)
        actions, chosen = _decide(policy, seen, request, generator)
        clock = _lap(seconds, "inference", clock)
        _execute(batch, running, rows, actions[:, : policy.contract.executed_steps], request)
        episodes = [running[row] for row in rows]
        success = np.array([episode.success for episode in episodes])
        after = np.where(success, 0.0, _potential(batch, rows, request))
        if chosen is not None:
            shaped = request.gamma * after - before
            index = np.array([episode.index for episode in episodes])
            decided.append(
                _Chunks(index=index, reward=(success + shaped).astype(np.float32), **chosen)
            )
        for row, episode in zip(rows, episodes, strict=True):
            episode.chunks += 1
            if not _goes_on(episode, request):
                episode.milestone = batch.status([row])[0].milestone
                episode.last_privileged = batch.privileged([row])[0]
                if request.keep_last_features:
                    encoded = _encode(policy, batch.observe([row]), request)
                    episode.last_features = {k: v[0].numpy() for k, v in encoded.items()}
                finished.append(running.pop(row))
        _lap(seconds, "simulation", clock)
    finished.sort(key=lambda episode: episode.index)
    return EpisodeReport(
        outcomes=tuple(
            EpisodeOutcome(
                condition=e.condition.name, success=e.success, steps=e.steps, milestone=e.milestone
            )
            for e in finished
        ),
        experience=_experience(finished, decided) if decided else None,
        seconds=seconds,
    )


def _goes_on(episode: _Running, request: EpisodeRequest) -> bool:
    return not episode.success and episode.steps < request.max_steps


def _potential(batch: SceneBatch, rows: list[int], request: EpisodeRequest) -> Floats:
    if request.shaping == 0:
        return np.zeros(len(rows), np.float32)
    return np.asarray(request.shaping * batch.rewards(rows), np.float32)


def _lap(seconds: dict[str, float], name: str, since: float) -> float:
    now = time.perf_counter()
    seconds[name] += now - since
    return now


@torch.no_grad()
def _decide(
    policy: Policy, seen: Seen, request: EpisodeRequest, generator: torch.Generator
) -> tuple[Floats, dict[str, Any] | None]:
    """Return `(B, horizon, 7)` actions, and when exploring what PPO must know of the choice."""
    features = _encode(policy, seen, request)
    if not request.explore:
        return policy.best_actions(features).numpy(), None
    decision = policy.act(features, generator)
    return decision.actions.numpy(), {
        "features": {name: value.numpy() for name, value in features.items()},
        "latent": decision.latent.numpy(),
        "log_prob": decision.log_prob.numpy(),
        "privileged": seen.privileged,
    }


def _encode(policy: Policy, seen: Seen, request: EpisodeRequest) -> Features:
    instructions = (request.instruction,) * len(seen.state)
    return policy.encode(Observation.from_numpy(seen.images, seen.state, instructions))


def _execute(
    batch: SceneBatch,
    running: dict[int, _Running],
    rows: list[int],
    chunks: Floats,
    request: EpisodeRequest,
) -> None:
    """Step the rows through their `(B, K, 7)` chunks; an episode that ends stays as it is."""
    for step in range(chunks.shape[1]):
        places = [i for i, row in enumerate(rows) if _goes_on(running[row], request)]
        if not places:
            return
        alive = [rows[i] for i in places]
        batch.step(alive, chunks[places, step])
        for row, success in zip(alive, batch.success(alive), strict=True):
            running[row].steps += 1
            running[row].success = bool(success)


def _experience(finished: list[_Running], decided: list[_Chunks]) -> Experience:
    order = np.argsort(np.concatenate([chunks.index for chunks in decided]), kind="stable")

    def ordered(parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)[order]

    last_features = [e.last_features for e in finished if e.last_features is not None]
    return Experience(
        features={
            name: ordered([chunks.features[name] for chunks in decided])
            for name in decided[0].features
        },
        latent=ordered([chunks.latent for chunks in decided]),
        log_prob=ordered([chunks.log_prob for chunks in decided]),
        privileged=ordered([chunks.privileged for chunks in decided]),
        reward=ordered([chunks.reward for chunks in decided]),
        lengths=np.array([episode.chunks for episode in finished]),
        terminated=np.array([episode.success for episode in finished]),
        last_privileged=np.stack(
            [e.last_privileged for e in finished if e.last_privileged is not None]
        ),
        last_features={
            name: np.stack([features[name] for features in last_features])
            for name in (last_features[0] if last_features else ())
        },
    )
