"""Temporal ensembling: overlapping chunks of one session, averaged action by action.

Zhao et al. 2023 (arXiv 2304.13705), section IV-B: every chunk that speaks about a time votes on
the action of that time, with weight exp(-decay * i), i = 0 for the oldest chunk. Actions here are
deltas to the previous target, so what is averaged are the motions of one control period.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class ChunkHistory:
    """The chunks of one session that still speak about the present."""

    def __init__(self, *, decay: float, period_ns: int) -> None:
        """Average with `decay` per chunk; `period_ns` is the control period."""
        if not decay >= 0:
            raise ValueError(f"ensembling decay must not be negative, got {decay}")
        self._decay = decay
        self._period_ns = period_ns
        self._chunks: list[tuple[int, NDArray[np.float32]]] = []

    def blend(self, actions: NDArray[np.float32], stamp_ns: int) -> NDArray[np.float32]:
        """Return `(horizon, 7)`: `actions` averaged with what earlier chunks said.

        `actions[i]` is for the time `stamp_ns` plus i control periods. A stamp that does not
        increase begins anew: another episode, or a client whose clock was set.
        """
        if self._chunks and stamp_ns <= self._chunks[-1][0]:
            self._chunks.clear()
        self._chunks.append((stamp_ns, actions))
        offsets = [round((stamp_ns - stamp) / self._period_ns) for stamp, _ in self._chunks]
        kept = [
            (offset, chunk)
            for offset, (_, chunk) in zip(offsets, self._chunks, strict=True)
            if offset < len(chunk)
        ]
        self._chunks = self._chunks[-len(kept) :]
        total = np.zeros(actions.shape, np.float64)
        weights = np.zeros((len(actions), 1))
        votes = np.zeros(len(actions), int)
        for offset, chunk in kept:  # oldest first
            covered = min(len(chunk) - offset, len(actions))
            weight = np.exp(-self._decay * votes[:covered, None])
            total[:covered] += weight * chunk[offset : offset + covered]
            weights[:covered] += weight
            votes[:covered] += 1
        return np.asarray(total / weights, np.float32)
