"""Demonstrations as the features of a policy, encoded once: the supervised term of stage II."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from rlco_datasets.contract import require_same_contract
from rlco_datasets.loader import ChunkSource
from torch import Tensor

from rlco_trainer.augment import gained, shifted
from rlco_trainer.data import Demonstrations, Kind, open_demonstrations, tensors
from rlco_trainer.policies.interface import Features, Policy, rows_of

ENCODED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How many changed copies of every image are encoded beside the original, and how changed."""

    copies: int
    shift_px: int
    gain: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    """Demonstration chunks as the policy's features, and the weight of their loss.

    `features` name -> `(N, ...)`, `actions (N, horizon, 7)`, `mask (N, horizon)`.
    """

    kind: Kind
    weight: float
    features: Features
    actions: Tensor
    mask: Tensor

    def loss(self, policy: Policy, rows: Tensor) -> dict[str, Tensor]:
        """Return the named terms of the supervised loss on `rows`."""
        return policy.sft_loss(rows_of(self.features, rows), self.actions[rows], self.mask[rows])

    def share(self, part: Tensor, rows: Tensor, executed_steps: int) -> float:
        """Return how much of the loss's mean over `rows` is that of `part`, by executed steps."""
        counted = self.mask[rows, :executed_steps].sum()
        return float(self.mask[part, :executed_steps].sum() / counted.clamp(min=1))

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Return `size` random rows."""
        return torch.randint(0, len(self.actions), (size,), generator=generator)


def demonstrations(
    policy: Policy,
    augmentation: Augmentation,
    weight: float,
    *,
    real: Sequence[str] = (),
    sim: Sequence[str] = (),
    held_out: float = 0.0,
    real_limit: int = 0,
    device: str = "cpu",
) -> tuple[Demonstrated, Demonstrations]:
    """Open stores of one kind, encode every step to train on; also return what was opened.

    Raises:
        DataError, StoreError, ContractMismatchError: if a store cannot be used.
    """
    demos = open_demonstrations(real, sim, held_out=held_out, real_limit=real_limit)
    require_same_contract(policy.contract, demos.contract, where=f"stores {(*real, *sim)}")
    generator = torch.Generator().manual_seed(augmentation.seed)
    parts = [
        part
        for opened in demos.parts
        for copy in range(augmentation.copies + 1)
        for part in encoded_source(
            opened.source, policy, augmentation if copy else None, generator, device
        )
    ]
    encoded = Demonstrated(
        kind="real" if real else "sim",
        weight=weight,
        features={name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]},
        actions=torch.cat([part[1] for part in parts]),
        mask=torch.cat([part[2] for part in parts]),
    )
    return encoded, demos


def encoded_source(
    source: ChunkSource,
    policy: Policy,
    augmentation: Augmentation | None,
    generator: torch.Generator,
    device: str,
) -> list[tuple[Features, Tensor, Tensor]]:
    """Return all of a source as features, actions `(B, horizon, 7)` and mask, in batches.

    With `augmentation`, its images are changed first, each once.
    """
    parts = []
    for rows in np.array_split(np.arange(len(source)), 1 + len(source) // ENCODED_AT_ONCE):
        observation, actions, mask = tensors(source.batch(rows))
        if augmentation is not None:
            images = {
                name: gained(
                    shifted(image, augmentation.shift_px, generator), augmentation.gain, generator
                )
                for name, image in observation.images.items()
            }
            observation = replace(observation, images=images)
        features = policy.encode(observation.to(device))
        parts.append((features, actions.to(device), mask.to(device)))
    return parts
