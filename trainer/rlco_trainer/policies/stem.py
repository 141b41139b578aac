"""Convolutions in front of the image towers of the tiny presets.

A vision transformer needs far more pictures than a small bench has to learn where a thing is. A few
convolutions, read out as in `compact` by a spatial softmax (where is it?) and a flat head (what is
there?), learn it from some thousand. Nor does a small language tower learn soon to relate a number
of its prompt to a place in the picture, so the stem is told the state, too, and works out what both
say together. Map and features are the picture that the tower then cuts into patches. The public
models have no stem.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STRIDE = 16
"""Pixels of the image to one of the stem's map, along a side."""
FLAT_CHANNELS, FLAT_SIDE, FLAT_FEATURES = 8, 16, 64
JOINT_FEATURES = 256


class Stem(nn.Module):
    """Images and state to a map a sixteenth of their side, with features written into every place.

    `summary` is what it computes; `picture` only lays that out. So the summaries of stored frames
    can be kept while the stem is frozen.
    """

    def __init__(self, channels: tuple[int, int, int], state_dim: int) -> None:
        """Build random weights; `channels` are those of the three convolutions."""
        super().__init__()
        first, second, third = channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
        )
        self.keypoints = nn.Conv2d(third, third, 1)
        self.reduce = nn.Conv2d(third, FLAT_CHANNELS, 1)
        self.pool = nn.AdaptiveAvgPool2d(FLAT_SIDE)
        self.flat = nn.Linear(FLAT_CHANNELS * FLAT_SIDE**2, FLAT_FEATURES)
        self.joint = nn.Sequential(
            nn.Linear(2 * third + FLAT_FEATURES + state_dim, JOINT_FEATURES),
            nn.ReLU(),
            nn.Linear(JOINT_FEATURES, JOINT_FEATURES),
            nn.ReLU(),
        )
        self.features = 2 * third + JOINT_FEATURES
        self.out_channels = third + self.features

    def forward(self, pixels: Tensor, state: Tensor) -> Tensor:
        """Return summaries `(B, third * (S / 16)^2 + features)`: the pooled map, the features.

        Args:
            pixels: `(B, 3, S, S) float32` in [-1, 1].
            state: `(B, state_dim)`, scaled.
        """
        maps, features = self.read(pixels, state)
        return torch.cat([nn.functional.avg_pool2d(maps, 4).flatten(1), features], 1)

    def picture(self, summary: Tensor) -> Tensor:
        """Lay summaries out as `(B, out_channels, S / 16, S / 16)`."""
        maps = summary[:, : -self.features].unflatten(1, (self.out_channels - self.features, -1))
        side = math.isqrt(maps.shape[-1])
        everywhere = summary[:, -self.features :, None, None].expand(-1, -1, side, side)
        return torch.cat([maps.unflatten(2, (side, side)), everywhere], 1)

    def read(self, pixels: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last map `(B, C, S / 4, S / 4)` and the features `(B, features)`."""
        x = self.convolutions(pixels.to(self.flat.weight.dtype))
        reduced = torch.relu(self.reduce(x))
        if reduced.shape[-2:] != (FLAT_SIDE, FLAT_SIDE):
            reduced = self.pool(reduced)
        flat = torch.relu(self.flat(reduced.flatten(1)))
        places = spatial_softmax(self.keypoints(x))
        joint = self.joint(torch.cat([places, flat, state.to(flat.dtype)], 1))
        return x, torch.cat([places, joint], 1)


def spatial_softmax(maps: Tensor) -> Tensor:
    """Return each channel's expected position, `(B, C, H, W)` to `(B, 2 C)` in [-1, 1].

    Finn et al. 2016 (arXiv 1509.06113), section IV.
    """
    B, C, H, W = maps.shape
    weight = maps.reshape(B, C, H * W).softmax(-1)
    rows = torch.linspace(-1, 1, H, device=maps.device).repeat_interleave(W)
    columns = torch.linspace(-1, 1, W, device=maps.device).repeat(H)
    return torch.cat([weight @ columns, weight @ rows], dim=1)


def check_stem(stem: tuple[int, ...], patch: int) -> None:
    """Check a configuration's `stem` against its patch.

    Raises:
        ValueError: if it is neither empty nor three channels, or patches do not fit its stride.
    """
    if stem and (len(stem) != 3 or min(stem) < 1 or patch % STRIDE):
        raise ValueError(
            f"stem {stem} must be () or three positive numbers of channels, with a patch that is a "
            f"multiple of {STRIDE} px; the patch is {patch}"
        )


def stem_of(stem: tuple[int, ...], state_dim: int) -> Stem | None:
    """Return the stem that a configuration asks for, if it does."""
    if not stem:
        return None
    first, second, third = stem
    return Stem((first, second, third), state_dim)
