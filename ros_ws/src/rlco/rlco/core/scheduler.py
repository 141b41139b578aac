"""Which action of which chunk is due at a time.

Actions have absolute times: action `i` of a chunk is for `observed + i` periods, `observed` being
the capture stamp of the observation that the chunk answers. A late answer therefore skips the
actions whose time has gone by instead of executing them late.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rlco_datasets.contract import ACTION_DIM, Contract


class ChunkError(ValueError):
    """A policy's answer is not a chunk of the contract."""


class ActionScheduler:
    """Holds the chunk in execution."""

    def __init__(self, contract: Contract) -> None:
        """Take the contract's period, horizon and executed steps."""
        self._contract = contract
        self._actions: NDArray[np.float64] | None = None
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
            or self._index(stamp_ns) + lead_steps >= self._contract.executed_steps
        )

    def action(self, stamp_ns: int) -> NDArray[np.float64] | None:
        """Return the action `(7,)` due at `stamp_ns`, or None on underrun: hold the last target.

        Past the executed steps the rest of the horizon serves, for answers that come late.
        """
        if self._actions is None:
            return None
        index = self._index(stamp_ns)
        return self._actions[index] if 0 <= index < len(self._actions) else None

    def _index(self, stamp_ns: int) -> int:
        return round((stamp_ns - self._observed_ns) / self._contract.period_ns)
