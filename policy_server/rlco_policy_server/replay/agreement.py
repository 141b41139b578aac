"""How well predicted chunks agree with recorded actions, and what a systematic error looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import ACTION_DIM

NAMES = ("x", "y", "z", "rx", "ry", "rz", "gripper")
LAGS = (-2, -1, 1, 2)
STILL = 1e-5
"""An action dimension that varies less than this (m, rad, opening) says nothing."""


@dataclass(frozen=True, kw_only=True)
class DimensionFit:
    """One action dimension: recorded against predicted."""

    name: str
    error: float
    """Mean absolute error, contract units."""
    constant_error: float
    """The error of always answering the recorded median; a policy should be well below."""
    correlation: float
    scale: float
    """Least-squares factor from recorded to predicted; near 1 when the units agree."""
    inverted_error: float
    """The error if the prediction's sense were inverted: -a, or 1 - a for the gripper."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """All dimensions that move, and one figure for all: error over the constant's error."""

    dimensions: tuple[DimensionFit, ...]
    relative_error: float
    lag_steps: int
    """By how many control steps predictions come late (positive) or early where they fit best."""


def agreement(
    recorded: list[NDArray[np.float32]], predicted: list[NDArray[np.float32]]
) -> Agreement:
    """Compare `(K, 7)` recorded actions with `(horizon, 7)` predicted ones, frame by frame.

    Raises:
        ValueError: if no action dimension moves in the recording.
    """
    fits = []
    ours, theirs = _joined(recorded, predicted, lag=0)
    for index in range(ACTION_DIM):
        truth, guess = ours[:, index], theirs[:, index]
        if truth.std() > STILL:
            fits.append(_fit(NAMES[index], truth, guess))
    if not fits:
        raise ValueError("nothing moves in the chosen frames; choose a store of demonstrations")
    errors = {
        lag: _relative_error(*_joined(recorded, predicted, lag=lag)) for lag in (-2, -1, 1, 2)
    }
    as_is = _relative_error(ours, theirs)
    best = min(errors, key=lambda lag: errors[lag])
    return Agreement(
        dimensions=tuple(fits),
        relative_error=as_is,
        lag_steps=best if errors[best] < 0.7 * as_is else 0,
    )


def _joined(
    recorded: list[NDArray[np.float32]], predicted: list[NDArray[np.float32]], *, lag: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return all pairs as `(N, 7)` each; `lag` > 0 compares action i with prediction i + lag."""
    truth, guess = [], []
    for actions, chunk in zip(recorded, predicted, strict=True):
        skip_truth, skip_guess = max(0, -lag), max(0, lag)
        count = max(0, min(len(actions) - skip_truth, len(chunk) - skip_guess))
        truth.append(actions[skip_truth : skip_truth + count])
        guess.append(chunk[skip_guess : skip_guess + count])
    return np.concatenate(truth).astype(np.float64), np.concatenate(guess).astype(np.float64)


def _fit(name: str, truth: NDArray[np.float64], guess: NDArray[np.float64]) -> DimensionFit:
    inverted = 1 - guess if name == "gripper" else -guess
    centred_truth, centred_guess = truth - truth.mean(), guess - guess.mean()
    covariance = float((centred_truth * centred_guess).mean())
    spread = float(truth.std() * guess.std())
    return DimensionFit(
        name=name,
        error=float(np.abs(truth - guess).mean()),
        constant_error=float(np.abs(truth - np.median(truth)).mean()),
        correlation=covariance / spread if spread > 0 else 0.0,
        scale=covariance / float(truth.var()),
        inverted_error=float(np.abs(truth - inverted).mean()),
    )


def _relative_error(truth: NDArray[np.float64], guess: NDArray[np.float64]) -> float:
    """Return the error over that of a constant, averaged over the dimensions that move."""
    if not len(truth):
        return float("inf")
    moving = truth.std(axis=0) > STILL
    constant = np.abs(truth - np.median(truth, axis=0)).mean(axis=0)
    moving &= constant > 0
    error = np.abs(truth - guess).mean(axis=0)
    return float((error[moving] / constant[moving]).mean()) if moving.any() else float("inf")
