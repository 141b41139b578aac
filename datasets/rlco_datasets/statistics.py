"""The numbers that map states and actions to what networks like, computed once over stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlco_datasets.contract import require_same_contract
from rlco_datasets.store import EpisodeStore
from rlco_datasets.store_folder import ACTION, STATE

STATE_STD_FLOOR = 0.01
"""Least standard deviation of a state (m, or rotation-matrix entries): less is sensor noise."""
ACTION_STD_FLOOR = 0.001
"""Least standard deviation of an action (m or rad a step; gripper fraction)."""

Vector = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Moments and quantiles of `count` states and actions, one number per dimension.

    A standard deviation is never under its floor, so that a dimension that does not move in the
    data maps to about zero instead of amplifying its noise.
    """

    count: int
    contract_id: str
    state_mean: Vector
    state_std: Vector
    state_min: Vector
    state_max: Vector
    state_q01: Vector
    state_q99: Vector
    action_mean: Vector
    action_std: Vector
    action_min: Vector
    action_max: Vector
    action_q01: Vector
    action_q99: Vector

    def __post_init__(self) -> None:
        """Check lengths, that deviations are positive and that quantiles are in order."""
        for what in ("state", "action"):
            mean, std, low, high = (
                getattr(self, f"{what}_{part}") for part in ("mean", "std", "q01", "q99")
            )
            others = (std, low, high, getattr(self, f"{what}_min"), getattr(self, f"{what}_max"))
            if any(len(values) != len(mean) for values in others):
                raise ValueError(f"normalisation: the {what} vectors differ in length")
            if min(std) <= 0:
                raise ValueError(f"normalisation: {what}_std must be positive, got {std}")
            if any(a > b for a, b in zip(low, high, strict=True)):
                raise ValueError(f"normalisation: {what}_q01 {low} is above {what}_q99 {high}")
        if self.count < 1:
            raise ValueError(f"normalisation: count must be positive, got {self.count}")

    def normalise_state(self, state: ArrayLike) -> NDArray[np.float32]:
        """Map states `(..., S)` to zero mean and unit deviation."""
        return _normalise(state, self.state_mean, self.state_std)

    def normalise_action(self, action: ArrayLike) -> NDArray[np.float32]:
        """Map actions `(..., 7)` to zero mean and unit deviation."""
        return _normalise(action, self.action_mean, self.action_std)

    def unnormalise_action(self, normalised: ArrayLike) -> NDArray[np.float32]:
        """Map back to actions `(..., 7)` in m, rad and gripper opening."""
        scaled = np.asarray(normalised, np.float64) * self.action_std + self.action_mean
        return scaled.astype(np.float32)

    def unnormalise_state(self, normalised: ArrayLike) -> NDArray[np.float32]:
        """Map back to states `(..., S)` in the contract's units."""
        scaled = np.asarray(normalised, np.float64) * self.state_std + self.state_mean
        return scaled.astype(np.float32)


def compute(
    stores: Sequence[EpisodeStore], episodes: Sequence[Sequence[int]] | None = None
) -> Normalisation:
    """Return the statistics of every step of `stores`, which share one contract.

    `episodes`, where given, names those of each store that count.

    Raises:
        ValueError: if there are no stores, or no steps in them.
        ContractMismatchError: if two stores differ in contract.
    """
    chosen = [range(len(store)) for store in stores] if episodes is None else episodes
    rows = [
        (store, store.rows(index))
        for store, indices in zip(stores, chosen, strict=True)
        for index in indices
    ]
    if not rows:
        names = [str(store.path) for store in stores]
        raise ValueError(f"no steps to compute statistics of in {names}; record episodes first")
    for store in stores[1:]:
        require_same_contract(stores[0].contract, store.contract, where=str(store.path))
    state = np.concatenate([store.steps(STATE, part) for store, part in rows])
    action = np.concatenate([store.steps(ACTION, part) for store, part in rows])
    return Normalisation(
        count=len(action),
        contract_id=stores[0].contract.id,
        **_moments("state", state, STATE_STD_FLOOR),
        **_moments("action", action, ACTION_STD_FLOOR),
    )


def _normalise(values: ArrayLike, mean: Vector, std: Vector) -> NDArray[np.float32]:
    return ((np.asarray(values, np.float64) - mean) / std).astype(np.float32)


def _moments(what: str, values: NDArray[Any], floor: float) -> dict[str, Any]:
    values = values.astype(np.float64)
    q01, q99 = np.quantile(values, (0.01, 0.99), axis=0)
    found = {
        "mean": values.mean(0),
        "std": np.maximum(values.std(0), floor),
        "min": values.min(0),
        "max": values.max(0),
        "q01": q01,
        "q99": q99,
    }
    return {f"{what}_{name}": tuple(map(float, vector)) for name, vector in found.items()}
