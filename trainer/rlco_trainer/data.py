"""Episode stores as training data: the alpha mixture and its normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rlco_datasets.contract import Contract, require_same_contract
from rlco_datasets.loader import Batch, ChunkSource, Mixture
from rlco_datasets.statistics import Normalisation, compute
from rlco_datasets.store import EpisodeStore
from torch import Tensor

from rlco_trainer.policies.interface import Observation

REAL, SIM = "real", "sim"


class DataError(ValueError):
    """The stores given cannot be trained on together."""


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Opened stores of one contract, real and sim."""

    contract: Contract
    normalisation: Normalisation
    real: tuple[ChunkSource, ...]
    sim: tuple[ChunkSource, ...]
    description: tuple[str, ...]
    """One line a store, for the lineage: `real:PATH (20 episodes)`."""

    def mixture(self, alpha: float, seed: int) -> Mixture:
        """Return the sampler that draws a sim sample with probability `alpha`.

        Within real and within sim, every step of every store is equally likely.

        Raises:
            DataError: if `alpha` asks for a kind of data that is not there.
        """
        if alpha > 0 and not self.sim:
            raise DataError(f"alpha {alpha} asks for sim data, but no --sim store was given")
        if alpha < 1 and not self.real:
            raise DataError(f"alpha {alpha} asks for real data, but no --real store was given")
        weighted = {}
        for kind, sources, share in ((REAL, self.real, 1 - alpha), (SIM, self.sim, alpha)):
            steps = sum(len(source) for source in sources)
            for i, source in enumerate(sources):
                if share > 0:
                    weighted[f"{kind}:{i}"] = (source, share * len(source) / steps)
        return Mixture(weighted, seed=seed)


def open_demonstrations(real: Sequence[str], sim: Sequence[str]) -> Demonstrations:
    """Open stores for reading and compute their joint normalisation.

    Raises:
        DataError: if no store is given, or one holds no episode.
        ContractMismatchError: if two stores differ in contract.
        StoreError: if a store is missing or damaged.
    """
    paths = [(REAL, path) for path in real] + [(SIM, path) for path in sim]
    if not paths:
        raise DataError("no store to train on; give --real and, for co-training, --sim")
    stores = [(kind, path, EpisodeStore.open(Path(path))) for kind, path in paths]
    contract = stores[0][2].contract
    for _, path, store in stores:
        require_same_contract(contract, store.contract, where=f"store {path}")
        if len(store) == 0:
            raise DataError(f"store {path} holds no complete episode; record some first")
    return Demonstrations(
        contract=contract,
        normalisation=compute([store for _, _, store in stores]),
        real=tuple(ChunkSource(store) for kind, _, store in stores if kind == REAL),
        sim=tuple(ChunkSource(store) for kind, _, store in stores if kind == SIM),
        description=tuple(f"{kind}:{path} ({len(store)} episodes)" for kind, path, store in stores),
    )


def tensors(batch: Batch) -> tuple[Observation, Tensor, Tensor]:
    """Return a loader batch as observation, actions `(B, horizon, 7)` and mask `(B, horizon)`."""
    observation = Observation.from_numpy(batch.images, batch.state, batch.instructions)
    return observation, torch.from_numpy(batch.actions), torch.from_numpy(batch.mask)
