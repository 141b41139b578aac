"""Least squares with a robust loss, and how sure its answer is.

The covariance is the larger, parameter by parameter, of two estimates: the usual one, which takes
residuals as independent, and the jackknife over groups (Efron and Stein 1981; for clustered errors,
MacKinnon, Nielsen and Webb 2023, "CV3"), which lets the residuals of one frame or one recording err
together and is not fooled by a group that the answer leans on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import t as student

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Parameters `(P,)`, their covariance `(P, P)`, and residuals `(N,)` at the solution."""

    x: Array
    covariance: Array
    residuals: Array
    degrees: float
    """Degrees of freedom that an interval may count on."""
    jacobian: Array
    weights: Array
    """`(N,)` how much the robust loss lets each residual count."""
    converged: bool = True

    def left_out(self, groups: NDArray[np.int_]) -> Array:
        """Return `(G, P)`: the parameters without each group in turn, to first order.

        One Gauss-Newton step from the solution, which is exact where the residuals are linear.
        """
        total = self.jacobian.T @ (self.weights[:, None] * self.jacobian)
        return self.x + np.stack(
            [
                _without(total, self.residuals, self.jacobian, self.weights, groups == name)
                for name in np.unique(groups)
            ]
        )

    @property
    def std(self) -> Array:
        """Standard uncertainty of every parameter."""
        return np.sqrt(np.clip(np.diag(self.covariance), 0, None))

    @property
    def rms(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def solve(
    residuals: Callable[[Array], Array],
    start: Array,
    *,
    scale: float,
    groups: NDArray[np.int_] | None = None,
    loss: str = "soft_l1",
    steps: Array | None = None,
    bounds: tuple[Array, Array] | None = None,
) -> Fit:
    """Minimise `residuals` `(N,)` from `start` `(P,)`.

    Args:
        residuals: of parameters `(P,)`; the same length always.
        start: where to begin.
        scale: size of an inlier's residual.
        groups: `(N,)` which residuals may err together.
        loss: as scipy's `least_squares`.
        steps: `(P,)` relative sizes of the parameters.
        bounds: lower and upper `(P,)`.
    """
    options = {} if bounds is None else {"bounds": bounds}
    result = least_squares(
        residuals,
        start,
        loss=loss,
        f_scale=scale,
        x_scale="jac" if steps is None else steps,
        method="trf",
        max_nfev=200,
        **options,
    )
    residual, jacobian = result.fun, result.jac
    if loss != "linear":  # scipy returns the Jacobian scaled by the loss: take the true one
        jacobian = _jacobian(residuals, result.x)
    count = len(residual)
    weights = np.ones(count) if loss == "linear" else 1 / np.sqrt(1 + (residual / scale) ** 2)
    covariance, degrees = _covariance(residual, jacobian, weights, groups)
    return Fit(
        jacobian=jacobian,
        weights=weights,
        x=result.x,
        covariance=covariance,
        residuals=residual,
        degrees=degrees,
        converged=bool(result.status > 0),
    )


def _jacobian(residuals: Callable[[Array], Array], x: Array) -> Array:
    columns = []
    for index in range(len(x)):
        step = 1e-6 * max(1.0, abs(x[index]))
        high, low = x.copy(), x.copy()
        high[index] += step
        low[index] -= step
        columns.append((residuals(high) - residuals(low)) / (2 * step))
    return np.stack(columns, axis=-1)


def _covariance(
    residual: Array, jacobian: Array, weight: Array, groups: NDArray[np.int_] | None
) -> tuple[Array, float]:
    """Return the covariance and its degrees of freedom."""
    count, parameters = jacobian.shape
    curvature = jacobian.T @ (weight[:, None] * jacobian)
    bread = inverse_information(curvature)
    free = max(count - parameters, 1)
    variance = float(np.sum(weight * residual**2)) / max(float(weight.sum()) - parameters, 1.0)
    usual = bread * variance
    if groups is None:
        return usual, float(free)
    names = np.unique(groups)
    number = len(names)
    shifts = np.stack(
        [_without(curvature, residual, jacobian, weight, groups == name) for name in names]
    )
    spread = shifts - shifts.mean(axis=0)
    grouped = (number - 1) / number * spread.T @ spread
    ratio = np.sqrt(np.maximum(np.diag(grouped) / np.maximum(np.diag(usual), 1e-300), 1.0))
    return usual * np.outer(ratio, ratio), float(max(number - 1, 1))


def without_each(residual: Array, jacobian: Array, groups: NDArray[np.int_]) -> Array:
    """Return `(G, P)`: how the parameters move when each group in turn is left out.

    Args:
        residual: at the solution, `(N,)`.
        jacobian: of the residuals, `(N, P)`.
        groups: `(N,)` which residuals may err together; negative: never left out.
    """
    weight = np.ones(len(residual))
    total = jacobian.T @ jacobian
    names = np.unique(groups[groups >= 0])
    return np.stack([_without(total, residual, jacobian, weight, groups == n) for n in names])


def _without(
    total: Array, residual: Array, jacobian: Array, weight: Array, mine: NDArray[np.bool_]
) -> Array:
    """Return how the parameters `(P,)` move when the residuals `mine` are left out.

    One Gauss-Newton step from the solution; `total` is the information `(P, P)` of all residuals.
    """
    weighted = weight[mine, None] * jacobian[mine]
    rest = total - jacobian[mine].T @ weighted
    pull = weighted.T @ residual[mine]
    size = np.sqrt(np.maximum(np.diag(total), 1e-300))
    step = np.linalg.lstsq(rest / np.outer(size, size), pull / size, rcond=1e-12)[0]
    return np.asarray(step / size)


def inverse_information(information: Array) -> Array:
    """Return the inverse of `(P, P)` information; what nothing is known of gets a huge variance.

    A pseudo-inverse would say zero there, which reads as perfectly known.
    """
    size = np.sqrt(np.maximum(np.diag(information), 1e-12))
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    inverse = (vectors / np.maximum(values, 1e-12)) @ vectors.T
    return np.asarray(inverse / np.outer(size, size))


def interval(value: float, std: float, degrees: float, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of a normal estimate whose spread was itself estimated."""
    half = float(student.ppf(0.5 + level / 2, max(degrees, 1.0))) * std
    return (value - half, value + half)
