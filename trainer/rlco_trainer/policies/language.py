"""Instructions as word-bucket ids: no vocabulary file, any language, stable across machines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

PADDING = 0


@lru_cache(maxsize=4096)
def word_buckets(instruction: str, buckets: int, max_words: int) -> tuple[int, ...]:
    """Return `max_words` bucket ids in [1, buckets), padded with 0.

    Words are compared without case and punctuation; words past `max_words` are left out.
    """
    words = re.findall(r"\w+", instruction.lower())[:max_words]
    ids = [
        1 + int.from_bytes(hashlib.blake2s(word.encode()).digest()[:8], "big") % (buckets - 1)
        for word in words
    ]
    return tuple(ids + [PADDING] * (max_words - len(ids)))


def instruction_ids(instructions: Sequence[str], buckets: int, max_words: int) -> Tensor:
    """Return the `(B, max_words) int64` bucket ids of B instructions."""
    return torch.tensor(
        [word_buckets(text, buckets, max_words) for text in instructions], dtype=torch.int64
    ).reshape(len(instructions), max_words)
