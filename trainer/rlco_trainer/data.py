"""Episode stores as training data: the alpha mixture, its balance and its normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rlco_datasets.contract import Contract, require_same_contract
from rlco_datasets.loader import Batch, ChunkSource, Mixture
from rlco_datasets.statistics import Normalisation, compute
from rlco_datasets.store import EpisodeStore
from torch import Tensor

from rlco_trainer.policies.interface import Observation

REAL, SIM = "real", "sim"
Kind = Literal["real", "sim"]
Balance = Literal["steps", "tasks"]


class DataError(ValueError):
    """The stores given cannot be trained on together."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The episodes of one task in one store."""

    kind: Kind
    store: int
    """Place of the store among those of its kind."""
    task: str
    source: ChunkSource

    @property
    def label(self) -> str:
        """Return a name that no other part has; it starts with the kind."""
        return f"{self.kind}:{self.store}:{self.task}"


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Opened stores of one contract, real and sim, split by task."""

    contract: Contract
    normalisation: Normalisation
    parts: tuple[Part, ...]
    held_out: tuple[Part, ...]
    """Real episodes that no sampler draws from, to measure the supervised loss on."""
    description: tuple[str, ...]
    """One line a store, for the lineage: `real:PATH (20 episodes)`."""

    def mixture(
        self,
        alpha: float,
        seed: int,
        *,
        balance: Balance = "steps",
        weights: dict[Kind, Sequence[float]] | None = None,
    ) -> Mixture:
        """Return the sampler that draws a sim sample with probability `alpha`.

        Within real and within sim every step is equally likely, or every task (`balance`); a
        store's `weights` entry, if there is one, multiplies that.

        Raises:
            DataError: if `alpha` asks for a kind of data that is not there, or the weights do not
                fit the stores.
        """
        shares: dict[Kind, float] = {"real": 1 - alpha, "sim": alpha}
        weighted: dict[str, tuple[ChunkSource, float]] = {}
        for kind, share in shares.items():
            parts = [part for part in self.parts if part.kind == kind]
            if share > 0 and not parts:
                raise DataError(
                    f"alpha {alpha} asks for {kind} data, but no --{kind} store was given"
                )
            if share > 0:
                raw = _raw_weights(parts, balance, kind, (weights or {}).get(kind, ()))
                total = sum(raw)
                weighted |= {
                    part.label: (part.source, share * weight / total)
                    for part, weight in zip(parts, raw, strict=True)
                }
        return Mixture(weighted, seed=seed)


def _raw_weights(
    parts: Sequence[Part], balance: Balance, kind: Kind, weights: Sequence[float]
) -> list[float]:
    stores = 1 + max(part.store for part in parts)
    if weights and len(weights) != stores:
        raise DataError(
            f"{kind}_weights has {len(weights)} numbers for {stores} {kind} stores; give one each"
        )
    factors = list(weights) if weights else [1.0] * stores
    if min(factors) < 0 or sum(factors) == 0:
        raise DataError(f"{kind}_weights must not be negative, nor all 0, got {factors}")
    steps_of_task = {
        task: sum(len(part.source) for part in parts if part.task == task)
        for task in {part.task for part in parts}
    }
    return [
        factors[part.store]
        * len(part.source)
        / (steps_of_task[part.task] if balance == "tasks" else 1)
        for part in parts
    ]


def open_demonstrations(
    real: Sequence[str], sim: Sequence[str], *, held_out: float = 0.0, real_limit: int = 0
) -> Demonstrations:
    """Open stores for reading, take their successful episodes and compute the normalisation.

    Args:
        real: paths of stores of real demonstrations.
        sim: paths of stores of sim demonstrations.
        held_out: the share of each real store's episodes of each task that is kept from training:
            the last ones, at least one.
        real_limit: how many episodes of each task of each real store count, from the first; 0: all.

    Raises:
        DataError: if no store is given, one holds no success, or holding out leaves none.
        ContractMismatchError: if two stores differ in contract.
        StoreError: if a store is missing or damaged.
    """
    paths: list[tuple[Kind, int, str]] = [
        *(("real", i, path) for i, path in enumerate(real)),
        *(("sim", i, path) for i, path in enumerate(sim)),
    ]
    if not paths:
        raise DataError("no store to train on; give --real and, for co-training, --sim")
    stores = [(kind, i, path, EpisodeStore.open(Path(path))) for kind, i, path in paths]
    contract = stores[0][3].contract
    parts: list[Part] = []
    validation: list[Part] = []
    used: list[list[int]] = []
    for kind, i, path, store in stores:
        require_same_contract(contract, store.contract, where=f"store {path}")
        by_task = _by_task(store, limit=real_limit if kind == REAL else 0)
        if not by_task:
            raise DataError(
                f"store {path} holds no complete and successful episode; record some first"
            )
        for task, episodes in by_task.items():
            kept = len(episodes) - _held_out(len(episodes), held_out if kind == REAL else 0.0)
            if kept == 0:
                raise DataError(
                    f"store {path} has {len(episodes)} episode of {task!r}; holding out "
                    f"{held_out} of them leaves none to train on. Record more, or hold out none."
                )
            for chosen, into in ((episodes[:kept], parts), (episodes[kept:], validation)):
                if chosen:
                    source = ChunkSource(store, episodes=chosen)
                    into.append(Part(kind=kind, store=i, task=task, source=source))
        used.append(sorted(episode for episodes in by_task.values() for episode in episodes))
    return Demonstrations(
        contract=contract,
        normalisation=compute([store for *_, store in stores], used),
        parts=tuple(parts),
        held_out=tuple(validation),
        description=tuple(
            f"{kind}:{path} ({len(episodes)} episodes)"
            for (kind, _, path, _), episodes in zip(stores, used, strict=True)
        ),
    )


def _by_task(store: EpisodeStore, *, limit: int) -> dict[str, list[int]]:
    """Return the successful episodes of each task; failures are recorded, but not imitated.

    `limit` is how many of each task count, from the first; 0: all.
    """
    episodes: dict[str, list[int]] = {}
    for i in range(len(store)):
        metadata = store.metadata(i)
        if metadata.outcome == "success":
            episodes.setdefault(metadata.task, []).append(i)
    return {task: found[: limit or None] for task, found in episodes.items()}


def _held_out(episodes: int, share: float) -> int:
    return 0 if share == 0 else max(1, math.floor(share * episodes))


def tensors(batch: Batch) -> tuple[Observation, Tensor, Tensor]:
    """Return a loader batch as observation, actions `(B, horizon, 7)` and mask `(B, horizon)`."""
    observation = Observation.from_numpy(batch.images, batch.state, batch.instructions)
    return observation, torch.from_numpy(batch.actions), torch.from_numpy(batch.mask)
