"""Contract images as the pixels that image towers take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rlco_datasets.contract import Contract
from torch import Tensor


def image_size(contract: Contract) -> int:
    """Return the side of the contract's images, pixels.

    Raises:
        ValueError: if a camera's image is not square, or two differ in size.
    """
    sizes = {(camera.width, camera.height) for camera in contract.cameras}
    width, height = next(iter(sizes))
    if len(sizes) > 1 or width != height:
        raise ValueError(
            f"contract {contract.name!r} has images of {sorted(sizes)} pixels; this family needs "
            "square ones of one size. Change width, height and crop in the contract."
        )
    return width


def slots_of(contract: Contract, slots: Sequence[str]) -> tuple[str, ...]:
    """Return the cameras that fill image slots, in slot order.

    An empty slot is left out: masked tokens change neither attention nor positions, so leaving
    them out gives the same numbers for less work.

    Raises:
        ValueError: if the slots do not name each camera of the contract once.
    """
    filled = tuple(name for name in slots if name) or contract.camera_names
    if sorted(filled) != sorted(contract.camera_names):
        raise ValueError(
            f"image slots {tuple(slots)} must name each camera of contract {contract.name!r} "
            f"once: {contract.camera_names}"
        )
    return filled


def stacked_pixels(images: Sequence[Tensor]) -> Tensor:
    """Return `(B, N, 3, S, S) float32` in [-1, 1] of N `(B, S, S, 3) uint8` images."""
    stacked = torch.stack(list(images), 1).permute(0, 1, 4, 2, 3)
    return stacked.float() / 127.5 - 1.0
