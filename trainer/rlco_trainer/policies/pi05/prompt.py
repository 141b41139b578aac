"""The prompts of pi0.5 and pi0, and the state written into the former as whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 256


def discretised(state: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each scaled state in [-1, 1]: 0 to 255, and -1 below the range."""
    return np.digitize(state, np.linspace(-1, 1, BINS + 1)[:-1]) - 1


def pi05_prompts(instructions: Sequence[str], state: NDArray[np.float32]) -> list[str]:
    """Return the prompt of each item; `state`: `(B, S)`, scaled to [-1, 1]."""
    return [
        f"Task: {_clean(text)}, State: {' '.join(map(str, row))};\nAction: "
        for text, row in zip(instructions, discretised(state), strict=True)
    ]


def pi0_prompts(instructions: Sequence[str]) -> list[str]:
    """Return the prompt of each item: the instruction and a line's end."""
    return [f"{_clean(text)}\n" for text in instructions]


def _clean(instruction: str) -> str:
    return instruction.strip().replace("_", " ").replace("\n", " ")
