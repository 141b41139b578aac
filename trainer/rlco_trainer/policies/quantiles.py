"""Quantile scaling: what pi0.5 and OpenVLA call normalised states and actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATE_FLOOR = 0.02
"""Least q01-to-q99 range of a state (m, or rotation-matrix entries): less is sensor noise."""


class QuantileScale(nn.Module):
    """Maps the 1% quantile to -1 and the 99% quantile to 1, as both public model families do.

    A dimension whose quantiles lie closer than `floor` would have its noise blown up; its range is
    widened to `floor` around the middle.
    """

    low: Tensor
    range: Tensor

    def __init__(
        self, q01: tuple[float, ...], q99: tuple[float, ...], *, floor: float, epsilon: float
    ) -> None:
        """Keep the scale of `len(q01)` dimensions.

        Args:
            q01: 1% quantiles, physical units.
            q99: 99% quantiles, physical units.
            floor: least range, physical units.
            epsilon: what the family's public code adds to the range: 1e-6 pi0.5, 1e-8 OpenVLA.
        """
        super().__init__()
        low, high = torch.tensor(q01, dtype=torch.float64), torch.tensor(q99, dtype=torch.float64)
        wide = high - low >= floor
        width = torch.where(wide, high - low, floor)
        low = torch.where(wide, low, (low + high - floor) / 2)
        self.register_buffer("low", low.float(), persistent=False)
        self.register_buffer("range", (width + epsilon).float(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Map `(..., D)` in physical units to about [-1, 1]."""
        return (values - self.low) / self.range * 2 - 1

    def inverse(self, scaled: Tensor) -> Tensor:
        """Map `(..., D)` in about [-1, 1] back to physical units."""
        return (scaled + 1) / 2 * self.range + self.low
