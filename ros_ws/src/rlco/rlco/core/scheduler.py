"""Which action of which chunk is due at a time.

Actions have absolute times: action `i` of a chunk is for `observed + i` periods, `observed` being
the capture stamp of the observation that the chunk answers. A late answer therefore skips the
actions whose time has gone by instead of executing them late.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rlco_datasets.contract import ACTION_DIM, Contract

Array = NDArray[np.float64]


class ChunkError(ValueError):
    """A policy's answer is not a chunk of the contract."""


class ActionScheduler:
    """Executes one chunk after the other: a new one replaces the one in execution."""

    def __init__(self, contract: Contract) -> None:
        """Take the contract's period, horizon and executed steps."""
        self._contract = contract
        self._actions: Array | None = None
        self._observed_ns = 0

    def clear(self) -> None:
        """Forget the chunk."""
        self._actions = None

    def accept(self, actions: ArrayLike, observed_ns: int) -> None:
        """Take `(horizon, 7)` actions, the answer to the observation captured at `observed_ns`.

        Values are not judged here: `TargetIntegrator` refuses what is not finite when it is due.

        Raises:
            ChunkError: if the shape is not the contract's, or the answer is older than the chunk
                in execution.
        """
        chunk = np.asarray(actions, float)
        expected = (self._contract.horizon, ACTION_DIM)
        if chunk.shape != expected:
            raise ChunkError(
                f"policy answered with actions of shape {chunk.shape}, the contract "
                f"{self._contract.name!r} says {expected}. Serve a checkpoint of this contract."
            )
        if self._actions is not None and observed_ns < self._observed_ns:
            raise ChunkError(
                f"policy answered the observation of {observed_ns} ns after that of "
                f"{self._observed_ns} ns was answered"
            )
        self._actions, self._observed_ns = chunk, observed_ns

    def needs_chunk(self, stamp_ns: int, *, lead_steps: int = 0) -> bool:
        """Tell whether the executed part ends at or before `stamp_ns` plus `lead_steps`."""
        return (
            self._actions is None
            or self._index(stamp_ns, self._observed_ns) + lead_steps
            >= self._contract.executed_steps
        )

    def action(self, stamp_ns: int) -> Array | None:
        """Return the action `(7,)` due at `stamp_ns`, or None on underrun: hold the last target.

        Past the executed steps the rest of the horizon serves, for answers that come late.
        """
        if self._actions is None:
            return None
        index = self._index(stamp_ns, self._observed_ns)
        return self._actions[index] if 0 <= index < len(self._actions) else None

    def ahead(self, stamp_ns: int) -> Array:
        """Return the actions `(K, 7)` from `stamp_ns` on, should no answer come; K may be 0."""
        if self._actions is None:
            return np.zeros((0, ACTION_DIM))
        return self._actions[max(0, self._index(stamp_ns, self._observed_ns)) :]

    def _index(self, stamp_ns: int, observed_ns: int) -> int:
        return round((stamp_ns - observed_ns) / self._contract.period_ns)


class EnsemblingScheduler(ActionScheduler):
    """Averages all chunks that have an action for the time (temporal ensembling).

    Weights are `exp(-decay * age)`, age 0 being the oldest chunk (ACT, Zhao et al., "Learning
    Fine-Grained Bimanual Manipulation with Low-Cost Hardware", 2023, section IV-A). The policy is
    asked at every step.
    """

    def __init__(self, contract: Contract, *, decay: float = 0.01) -> None:
        """Take the contract and the decay per chunk: small to trust new chunks more."""
        super().__init__(contract)
        self._decay = decay
        self._chunks: list[tuple[Array, int]] = []

    def clear(self) -> None:
        """Forget the chunks."""
        super().clear()
        self._chunks.clear()

    def accept(self, actions: ArrayLike, observed_ns: int) -> None:
        """Take a chunk in, as `ActionScheduler.accept`."""
        super().accept(actions, observed_ns)
        assert self._actions is not None
        self._chunks.append((self._actions, observed_ns))

    def needs_chunk(self, stamp_ns: int, *, lead_steps: int = 0) -> bool:
        """Ask always."""
        return True

    def action(self, stamp_ns: int) -> Array | None:
        """Return the weighted mean of the actions `(7,)` due at `stamp_ns`, or None."""
        due = []
        kept = []
        for chunk, observed_ns in self._chunks:
            index = self._index(stamp_ns, observed_ns)
            if index < len(chunk):
                kept.append((chunk, observed_ns))
                due += [chunk[index]] if index >= 0 else []
        self._chunks = kept
        if not due:
            return None
        weights = np.exp(-self._decay * np.arange(len(due)))
        return np.average(due, axis=0, weights=weights)


BLENDINGS = ("wait", "ensemble", "rtc")


def scheduler_for(blending: str, contract: Contract) -> ActionScheduler:
    """Return the scheduler of a way to blend chunks.

    `wait`: one chunk after the other; `ensemble`: the mean of all that cover the time; `rtc`: one
    after the other, where the server made each continue the one before (real-time chunking).

    Raises:
        ValueError: if there is no such way.
    """
    if blending not in BLENDINGS:
        raise ValueError(f"blending must be one of {BLENDINGS}, got {blending!r}")
    return EnsemblingScheduler(contract) if blending == "ensemble" else ActionScheduler(contract)
