"""Image augmentation for supervised batches: small shifts and per-channel brightness."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(images: Tensor, max_shift_px: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `max_shift_px` pixels along both axes; the border is repeated.

    Args:
        images: `(B, H, W, 3)`.
        max_shift_px: largest shift, pixels; 0 returns the input.
        generator: the source of randomness.
    """
    if max_shift_px == 0:
        return images
    B, H, W, _ = images.shape
    shift = torch.randint(-max_shift_px, max_shift_px + 1, (2, B, 1), generator=generator)
    rows = (torch.arange(H) + shift[0]).clamp(0, H - 1)
    columns = (torch.arange(W) + shift[1]).clamp(0, W - 1)
    return images[torch.arange(B)[:, None, None], rows[:, :, None], columns[:, None, :]]


def gained(images: Tensor, max_gain: float, generator: torch.Generator) -> Tensor:
    """Multiply each image's channels by independent factors in [1 - max_gain, 1 + max_gain].

    Args:
        images: `(B, H, W, 3) uint8`.
        max_gain: largest relative change; 0 returns the input.
        generator: the source of randomness.
    """
    if max_gain == 0:
        return images
    B = images.shape[0]
    factor = 1 + max_gain * (2 * torch.rand((B, 1, 1, 3), generator=generator) - 1)
    return (images * factor).round_().clamp_(0, 255).to(torch.uint8)
