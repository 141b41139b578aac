"""What a frozen stem makes of every stored frame, computed once for all of stage I.

With the stem frozen, its output for a frame and its augmented copies never changes; kept, a
training step costs only what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlco_trainer.data import Part
from rlco_trainer.demonstrated import Augmentation, encoded_source
from rlco_trainer.policies.interface import Features, Policy, rows_of

Drawn = tuple[Features, Tensor, Tensor]
"""Features, actions `(B, horizon, 7)` in contract units, mask `(B, horizon)`."""


class FrozenFrames:
    """The steps of the demonstrations as features; the copies of a step follow each other."""

    def __init__(
        self, policy: Policy, parts: Sequence[Part], augmentation: Augmentation, device: str
    ) -> None:
        """Encode every step of `parts`, and its copies, drawn from the augmentation's seed."""
        generator = torch.Generator().manual_seed(augmentation.seed)
        encoded: list[Drawn] = []
        self._first: dict[str, int] = {}
        self._steps: dict[str, int] = {}
        self._copies = augmentation.copies + 1
        count = 0
        for part in parts:
            self._first[part.label], self._steps[part.label] = count, len(part.source)
            for copy in range(self._copies):
                changed = augmentation if copy else None
                encoded += encoded_source(part.source, policy, changed, generator, device)
            count += self._copies * len(part.source)
        self._features = {
            name: torch.cat([features[name] for features, _, _ in encoded])
            for name in encoded[0][0]
        }
        self._actions = torch.cat([actions for _, actions, _ in encoded])
        self._mask = torch.cat([mask for _, _, mask in encoded])

    def batch(
        self,
        drawn: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]],
        generator: torch.Generator,
    ) -> Drawn:
        """Return the samples that `Mixture.draw` drew, each as one of its copies, at random."""
        size = sum(len(rows) for _, rows in drawn.values())
        kept = torch.empty(size, dtype=torch.int64)
        copies = torch.randint(0, self._copies, (size,), generator=generator)
        for label, (places, rows) in drawn.items():
            at = torch.from_numpy(places)
            first, steps = self._first[label], self._steps[label]
            kept[at] = first + copies[at] * steps + torch.from_numpy(rows)
        kept = kept.to(self._actions.device)
        return rows_of(self._features, kept), self._actions[kept], self._mask[kept]
