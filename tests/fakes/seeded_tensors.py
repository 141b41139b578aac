"""Tensors that depend on a name and a shape only: the same in our tests and in an oracle's."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def seeded(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return normal numbers, scaled for a weight of that shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    scale = float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.1
    return (rng.standard_normal(tuple(shape)) * scale).astype(np.float32)


def seeded_input(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return standard normal numbers."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.standard_normal(tuple(shape)).astype(np.float32)
