"""The order of the trials: block-randomised, so that drift of the bench hits every policy alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from rlco_evaluation.study import Study


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One planned run: the `index`-th trial runs `code` from `condition` (a name) in `block`.

    The trials of one block share their initial condition; they are the pairs of the paired tests.
    """

    index: int
    block: int
    condition: str
    code: str


def schedule(study: Study) -> tuple[Trial, ...]:
    """Return every trial of `study` in the order in which it is to be run.

    A block is one initial condition with every code once, so the scene is laid out once a block.
    Blocks run through all conditions, in random order, before a condition is repeated. Within
    every group of as many blocks as there are codes, each code takes each place in the block once
    (a random Latin square), so no policy always meets a warm or a fresh bench.
    The order depends on `study.order_seed`, the codes and the condition names alone.
    """
    blocks = [
        condition
        for repetition in range(study.trials_per_condition)
        for condition in _shuffled(
            (condition.name for condition in study.conditions), study.order_seed, repetition
        )
    ]
    trials: list[Trial] = []
    square: list[list[str]] = []
    for block, condition in enumerate(blocks):
        if not square:
            square = _latin_square(study.codes, study.order_seed, block)
        for code in square.pop():
            trials.append(Trial(index=len(trials), block=block, condition=condition, code=code))
    return tuple(trials)


def _latin_square(codes: tuple[str, ...], seed: int, block: int) -> list[list[str]]:
    """Return the rotations of a random order of `codes`, themselves in random order."""
    base = _shuffled(codes, seed, "base", block)
    shifts = _shuffled((str(shift) for shift in range(len(base))), seed, "shift", block)
    return [base[int(shift) :] + base[: int(shift)] for shift in shifts]


def _shuffled(items: Iterable[str], *seed: object) -> list[str]:
    """Return `items` sorted by a hash of the seed and each item.

    Unlike a library's shuffle this is the same in every version of every library.
    """

    def rank(item: str) -> bytes:
        return hashlib.sha256("/".join([*map(str, seed), item]).encode()).digest()

    return sorted(items, key=rank)
