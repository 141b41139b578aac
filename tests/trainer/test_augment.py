"""Augmentation: within its limits, aligned with the original, and repeatable."""

from __future__ import annotations

import numpy as np
import torch
from rlco_trainer.augment import gained, shifted


def make_images(batch: int = 8) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (batch, 12, 10, 3), dtype=np.uint8))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_shift_is_the_image_moved_with_its_border_repeated():
    images = make_images(40)
    moved = shifted(images, 2, seeded())
    found = set()
    for before, after in zip(images.numpy(), moved.numpy(), strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), "edge")
        matches = [
            (r, c)
            for r in range(5)
            for c in range(5)
            if np.array_equal(padded[r : r + 12, c : c + 10], after)
        ]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) > 10


def test_gain_scales_whole_channels_within_the_limit():
    images = torch.full((50, 4, 4, 3), 100, dtype=torch.uint8)
    changed = gained(images, 0.15, seeded()).numpy().astype(int)
    assert changed.min() >= 84
    assert changed.max() <= 115
    assert (changed == changed[:, :1, :1]).all()
    assert len(np.unique(changed)) > 20


def test_bright_pixels_saturate():
    images = torch.full((50, 2, 2, 3), 255, dtype=torch.uint8)
    assert int(gained(images, 1.0, seeded()).max()) == 255
    assert int(gained(images, 0.15, seeded()).min()) >= 215


def test_zero_changes_nothing_and_seeds_repeat():
    images = make_images()
    assert torch.equal(gained(shifted(images, 0, seeded()), 0.0, seeded()), images)
    assert torch.equal(shifted(images, 3, seeded(1)), shifted(images, 3, seeded(1)))
    assert not torch.equal(gained(images, 0.3, seeded(1)), gained(images, 0.3, seeded(2)))
