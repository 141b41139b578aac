"""Contract images as the pixels that image towers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from rlco_datasets.contract import Contract
from torch import Tensor

from rlco_trainer.policies.stem import Stem

IMAGE, STEM = "image/", "stem/"
"""In front of a camera's name: its images, or what a frozen stem made of them, as features."""
STEM_STATE = "stem_state"
"""The feature that holds the state that a stem reads."""


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


def seen(
    images: Mapping[str, Tensor],
    names: Sequence[str],
    stem: Stem | None,
    state: Tensor,
    *,
    frozen: bool,
) -> dict[str, Tensor]:
    """Return the features of each camera: its images or, if the stem is frozen, its summaries.

    Args:
        images: camera name -> `(B, S, S, 3) uint8`.
        names: the cameras to keep.
        stem: the policy's stem, if it has one; then images come with the state that it reads.
        state: `(B, state_dim)`, scaled.
        frozen: whether the stem's output never changes.
    """
    kept = {IMAGE + name: images[name] for name in names}
    if stem is None:
        return kept
    if not frozen:
        return kept | {STEM_STATE: state}
    both = stacked(kept | {STEM_STATE: state}, names, stem, state.device)
    return {STEM + name: both[:, i] for i, name in enumerate(names)}


def stacked(
    features: Mapping[str, Tensor], names: Sequence[str], stem: Stem | None, device: torch.device
) -> Tensor:
    """Return what the towers read of N cameras.

    That is `(B, N, 3, S, S)` pixels or, with a stem, the `(B, N, F)` summaries that `seen` kept or
    that are computed here.
    """
    if all(STEM + name in features for name in names):
        return torch.stack([features[STEM + name].to(device) for name in names], 1)
    pixels = stacked_pixels([features[IMAGE + name].to(device) for name in names])
    if stem is None:
        return pixels
    state = features[STEM_STATE].to(device).repeat_interleave(len(names), 0)
    summaries: Tensor = stem(pixels.flatten(0, 1), state).unflatten(0, pixels.shape[:2])
    return summaries
