"""Deterministic arithmetic: the same inputs and seeds give the same weights, bit for bit.

On a CPU with a fixed number of threads a run is that anyway. On a GPU some kernels add in whatever
order they finish; here those are replaced by ordered ones, or refused with torch's own error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE, ORDERED = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Compute deterministically inside the block, if wanted; afterwards all is as it was.

    cuBLAS reads its setting when it is first used: enter the block before anything is on a GPU.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault(WORKSPACE, ORDERED)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
