"""Text to token ids: the real tokenizers by path or hub id, and a small deterministic one."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WORDS = "words"
"""The source that names the small tokenizer; anything else is a path or a hub id."""
PADDING, BEGIN = 0, 1
NUMBERS = 256
FIRST_NUMBER = 2
FIRST_WORD = FIRST_NUMBER + NUMBERS
SLOW, FAST = 1.5, 10.0
"""Spread of the rates of `order_numbers`, radians on half the range of the numbers."""


class TokenizerError(ValueError):
    """A tokenizer cannot be had, or a text does not fit."""


class Tokenizer(Protocol):
    """What the families ask of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with the beginning-of-sequence id in front."""


class WordTokenizer:
    """One id a word or sign, by hash; whole numbers under 256 have ids of their own.

    It needs no file, is the same on every machine, and keeps apart what the tiny presets must:
    the numbers of a discretised state. Two words may share an id; that is the price of no file.
    """

    def __init__(self, vocabulary: int) -> None:
        """Use ids below `vocabulary`.

        Raises:
            TokenizerError: if that leaves no room for words.
        """
        if vocabulary < FIRST_WORD + 64:
            raise TokenizerError(f"vocabulary {vocabulary} is too small; need {FIRST_WORD + 64}")
        self.vocabulary = vocabulary

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with the beginning-of-sequence id in front."""
        return [BEGIN, *(self._id(word) for word in re.findall(r"\w+|[^\w\s]", text.lower()))]

    def _id(self, word: str) -> int:
        if word.isascii() and word.isdecimal() and int(word) < NUMBERS:
            return FIRST_NUMBER + int(word)
        digest = hashlib.blake2s(word.encode()).digest()[:8]
        return FIRST_WORD + int.from_bytes(digest, "big") % (self.vocabulary - FIRST_WORD)


class PretrainedTokenizer:
    """A tokenizer that `transformers` loads from a folder or, where reachable, from the hub."""

    def __init__(self, source: str, rows: int) -> None:
        """Load it for a network of `rows` embedded ids.

        Raises:
            TokenizerError: if it cannot be loaded, or has ids that the network does not.
        """
        from transformers import AutoTokenizer

        try:
            self.inner = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise TokenizerError(
                f"tokenizer {source!r} cannot be loaded ({error}). Give the folder of a downloaded "
                f"tokenizer, a hub id that this machine can reach, or {WORDS!r} for the built-in."
            ) from error
        if len(self.inner) > rows:
            raise TokenizerError(
                f"tokenizer {source!r} has {len(self.inner)} ids, the network {rows}; they "
                "do not belong together. Check the tokenizer of this checkpoint."
            )

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with the beginning-of-sequence id in front."""
        ids: list[int] = self.inner(text, add_special_tokens=False)["input_ids"]
        begin = self.inner.bos_token_id
        return ids if begin is None else [begin, *ids]


@lru_cache(maxsize=8)
def load_tokenizer(source: str, *, words: int, rows: int) -> Tokenizer:
    """Return the tokenizer that `source` names.

    Args:
        source: `words`, a folder, or a hub id.
        words: ids that the built-in tokenizer may use.
        rows: rows of the network's embedding.

    Raises:
        TokenizerError: if there is none, or it does not fit.
    """
    return WordTokenizer(words) if source == WORDS else PretrainedTokenizer(source, rows)


def padded(sequences: Sequence[Sequence[int]], length: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Return `(B, length) int64` ids and their `(B, length) bool` mask, False at the padding.

    Args:
        sequences: the ids of each item.
        length: ids an item gets.
        left: put the padding in front.

    Raises:
        TokenizerError: if a sequence is longer than `length`.
    """
    ids: NDArray[np.int64] = np.full((len(sequences), length), PADDING, np.int64)
    mask = np.zeros((len(sequences), length), np.bool_)
    for row, sequence in enumerate(sequences):
        if len(sequence) > length:
            raise TokenizerError(
                f"an instruction makes {len(sequence)} tokens, and max_tokens is {length}; "
                "shorten the instruction or raise max_tokens in the preset"
            )
        columns = slice(length - len(sequence), None) if left else slice(len(sequence))
        ids[row, columns] = sequence
        mask[row, columns] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def without_padding(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return features whose prompts are cut to the columns that some item of the batch uses.

    Padding changes nothing but the time it takes. `tokens` and `token_mask` are `(B, L)`.
    """
    used = features["token_mask"].any(0)
    cut = {name: features[name][:, used] for name in ("tokens", "token_mask")}
    return features | cut


@torch.no_grad()
def order_numbers(table: Tensor, first: int) -> None:
    """Let the rows of neighbouring numbers start alike, as a network that has read has them.

    Each row becomes cosines of the number, of random rates and phases (Rahimi and Recht 2007,
    section 3), with the size that the rows had.

    Args:
        table: `(rows, width)`, changed in place.
        first: row of the first of the 256 numbers.
    """
    rows, width = slice(first, first + NUMBERS), table.shape[1]
    size = table[rows].square().mean().sqrt()
    number = torch.linspace(-1, 1, NUMBERS, device=table.device)[:, None]
    spread = torch.tensor([SLOW, FAST], device=table.device).repeat(width)[:width]
    phase = torch.rand(width, device=table.device) * 2 * math.pi
    table[rows] = (
        size
        * math.sqrt(2)
        * torch.cos(number * torch.randn(width, device=table.device) * spread + phase)
    )
