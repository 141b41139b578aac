"""Actions as tokens, exactly as OpenVLA writes them: 256 edges, 255 bins, the last 256 ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EDGES = 256


def encode_actions(scaled: Tensor, vocabulary: int) -> Tensor:
    """Return the ids `(..., D) int64` of actions scaled to [-1, 1].

    `vocabulary - digitize(a, linspace(-1, 1, 256))`: from vocabulary - 1 (lowest) to
    vocabulary - 256 (exactly 1).
    """
    edges = torch.linspace(-1, 1, EDGES, dtype=torch.float64, device=scaled.device)
    return vocabulary - torch.bucketize(scaled.double().clamp(-1, 1), edges, right=True)


def neighbours(bins: float) -> Tensor:
    """Return `(256, 256)`: for each action token a Gaussian of std `bins` over the bins around."""
    place = torch.arange(EDGES, dtype=torch.float64)
    distance = (place[:, None] - place) / bins
    return (-0.5 * distance.square()).softmax(1).float()


def decode_actions(ids: Tensor, vocabulary: int) -> Tensor:
    """Return the bin centres `(..., D) float32` of ids; an id past the ends is clipped."""
    edges = torch.linspace(-1, 1, EDGES, dtype=torch.float64, device=ids.device)
    centres = (edges[:-1] + edges[1:]) / 2
    return centres[(vocabulary - ids - 1).clamp(0, EDGES - 2)].float()


def action_ids(vocabulary: int) -> tuple[int, int]:
    """Return the first action id and the one past the last."""
    return vocabulary - EDGES, vocabulary


def prompts(instructions: Sequence[str]) -> list[str]:
    """Return the prompt of each item."""
    return [
        f"In: What action should the robot take to {text.strip().lower()}?\nOut:"
        for text in instructions
    ]
