"""How much better than expected: by a critic over chunks, or against one's own group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
GROUP_STD_FLOOR = 1e-4


def chunk_advantages(
    rewards: Floats,
    values: Floats,
    bootstrap_value: float,
    *,
    terminated: bool,
    gamma: float,
    lambda_: float,
) -> tuple[Floats, Floats]:
    """Return advantages and returns of one episode, one entry a chunk.

    Schulman et al. 2016 (arXiv 1506.02438), eq. 16, with one action chunk as one action; `gamma`
    and `lambda_` are per chunk. An episode that was cut off by its time limit is continued by the
    critic (Pardo et al. 2018, arXiv 1712.00378): `bootstrap_value` is the value of the state after
    the last chunk, and is ignored where the episode really ended (`terminated`).

    Args:
        rewards: `(N,)`, the reward of each chunk.
        values: `(N,)`, the critic's value before each chunk.
        bootstrap_value: the critic's value after the last chunk.
        terminated: whether the task ended the episode, rather than the time limit.
        gamma: discount per chunk.
        lambda_: trace decay per chunk.

    Raises:
        ValueError: if the arrays differ in length or are empty.
    """
    if rewards.shape != values.shape or rewards.ndim != 1 or len(rewards) == 0:
        raise ValueError(
            f"rewards {rewards.shape} and values {values.shape} must both be (N,), N >= 1"
        )
    following = np.append(values[1:], 0.0 if terminated else bootstrap_value)
    deltas = rewards + gamma * following - values
    advantages = np.empty(len(rewards), np.float64)
    running = 0.0
    for i in reversed(range(len(rewards))):
        running = float(deltas[i]) + gamma * lambda_ * running
        advantages[i] = running
    return advantages.astype(np.float32), (advantages + values).astype(np.float32)


def group_advantages(returns: Floats, groups: Sequence[str]) -> Floats:
    """Return the `(E,)` advantage of each episode within its group of one start.

    Shao et al. 2024 (GRPO, arXiv 2402.03300), section 4.1.2: the return, standardised within the
    episodes that began alike; no critic. A group that always or never succeeds says nothing: 0.

    Args:
        returns: `(E,)`, the undiscounted return of each episode.
        groups: E names; episodes of one name began alike.

    Raises:
        ValueError: if the lengths differ.
    """
    if len(returns) != len(groups):
        raise ValueError(f"{len(returns)} returns for {len(groups)} group names")
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    count = np.bincount(member, minlength=len(names))
    mean = np.bincount(member, weights=returns) / count
    centred = returns - mean[member]
    std = np.sqrt(np.bincount(member, weights=centred**2) / count)
    return np.asarray(centred / (std[member] + GROUP_STD_FLOOR), np.float32)
