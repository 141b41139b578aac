"""The stem's own objective in stage I: a regression that teaches perception where things are.

A flow or token decoder trained from scratch together with its perception learns to copy the state
instead of seeing: its loss falls, its success does not. So the stem is first trained through a head
that regresses the actions and is then thrown away; after that it is frozen.
"""

from __future__ import annotations

import torch
from rlco_datasets.contract import ACTION_DIM
from rlco_datasets.statistics import ACTION_STD_FLOOR
from torch import Tensor, nn

from rlco_trainer.data import DataError
from rlco_trainer.losses import supervised_regression
from rlco_trainer.policies.interface import Features, Observation, Policy
from rlco_trainer.policies.language import instruction_ids
from rlco_trainer.policies.stem import Stem
from rlco_trainer.policies.vision import stacked

BUCKETS, LANGUAGE_FEATURES, MAX_WORDS = 512, 32, 16
MIN_STD = 1e-6


class StemRegression(nn.Module):
    """A policy's stem under a regression head; offers what stage I needs of a policy."""

    def __init__(self, policy: Policy) -> None:
        """Build a random head over `policy`'s stem."""
        super().__init__()
        self.stem = required_stem(policy)
        self._observed = policy.encode
        self.contract = policy.contract
        n, cameras = policy.normalisation, len(policy.contract.cameras)
        self.scales = nn.ParameterDict(
            {
                "action_mean": torch.tensor(n.action_mean),
                "action_std": torch.tensor(n.action_std).clamp(min=MIN_STD),
            }
        ).requires_grad_(False)
        self.words = nn.Embedding(BUCKETS, LANGUAGE_FEATURES, padding_idx=0)
        seen = cameras * self.stem.features
        self.film = nn.Linear(LANGUAGE_FEATURES, seen)
        self.head = nn.Linear(seen, policy.contract.horizon * ACTION_DIM)

    @torch.no_grad()
    def encode(self, observation: Observation) -> Features:
        """Return what the policy's `encode` does, and word ids."""
        words = instruction_ids(observation.instructions, BUCKETS, MAX_WORDS)
        return self._observed(observation) | {"words": words.to(self.words.weight.device)}

    def sft_loss(self, features: Features, actions: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Smooth L1 on the normalised chunk, over moving dimensions and executed steps."""
        scales, device = self.scales, self.words.weight.device
        read = stacked(features, self.contract.camera_names, self.stem, device)
        seen = read[..., -self.stem.features :].flatten(1)
        language = self.words(features["words"]).sum(1)
        flat = self.head(seen * (1 + self.film(language)))
        return supervised_regression(
            flat.float().reshape(len(actions), -1, ACTION_DIM),
            (actions - scales["action_mean"]) / scales["action_std"],
            mask,
            scales["action_std"] > ACTION_STD_FLOOR,
            self.contract.executed_steps,
        )


def required_stem(policy: Policy) -> Stem:
    """Return the policy's stem.

    Raises:
        DataError: if it has none.
    """
    stem = policy.stem()
    if stem is None:
        raise DataError(
            f"this {policy.family} policy has no stem; leave --objective and --freeze-stem out, or "
            "start from a tiny preset: rlco-train init --preset pi05-tiny (or openvla-tiny)"
        )
    return stem
