"""Success rates, paired differences and what a study can and cannot show.

Scipy does the distributions. Newcombe's hybrid score interval is written out, since neither scipy
nor statsmodels has the paired form; the tests check its unpaired case against statsmodels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special, stats


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """Outcomes of two policies on the same starts: how often both, one or neither succeeded."""

    both: int
    only_first: int
    only_second: int
    neither: int

    def __post_init__(self) -> None:
        """Check that counts are not negative."""
        if min(self.both, self.only_first, self.only_second, self.neither) < 0:
            raise ValueError(f"counts must not be negative, got {self}")

    @property
    def n(self) -> int:
        """The number of pairs."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> int:
        """The successes of the first policy."""
        return self.both + self.only_first

    @property
    def second(self) -> int:
        """The successes of the second policy."""
        return self.both + self.only_second


def rate_interval(
    successes: int,
    n: int,
    confidence: float = 0.95,
    method: Literal["wilson", "exact"] = "wilson",
) -> Interval:
    """Return the two-sided interval of a success rate; `exact` is Clopper-Pearson.

    Raises:
        ValueError: unless 0 <= successes <= n and n > 0.
    """
    _check_count(successes, n)
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method=method)
    return Interval(low=float(interval.low), high=float(interval.high))


def mcnemar_p(counts: PairedCounts) -> float:
    """Return the two-sided exact McNemar p-value: are wins and losses equally likely?

    With no discordant pair there is nothing to test and p is 1.
    """
    discordant = counts.only_first + counts.only_second
    if not discordant:
        return 1.0
    return float(stats.binomtest(counts.only_first, discordant, 0.5).pvalue)


def difference_interval(
    first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95
) -> Interval:
    """Return Newcombe's interval of p_first - p_second of independent (successes, n).

    Method 10 of Newcombe, Statistics in Medicine 17 (1998) 873-890.
    """
    return _hybrid_score(first, second, 0.0, confidence)


def paired_difference_interval(counts: PairedCounts, confidence: float = 0.95) -> Interval:
    """Return Newcombe's interval of p_first - p_second of paired outcomes.

    Method 10 of Newcombe, Statistics in Medicine 17 (1998) 2635-2650: Wilson limits, joined with
    the (continuity corrected) correlation of the pairs.

    Raises:
        ValueError: if there are no pairs.
    """
    n, a, d = counts.n, counts.both, counts.neither
    margins = counts.first * (n - counts.first) * counts.second * (n - counts.second)
    covariance = float(a * d - counts.only_first * counts.only_second)
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    correlation = covariance / math.sqrt(margins) if margins else 0.0
    return _hybrid_score((counts.first, n), (counts.second, n), correlation, confidence)


def probability_better(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return P(p_first > p_second) under independent uniform priors, given (successes, n) of each.

    Exact sum over the first posterior's (integer) parameters; pairing is not used.
    """
    _check_count(*first)
    _check_count(*second)
    a1, b1 = first[0] + 1, first[1] - first[0] + 1
    a2, b2 = second[0] + 1, second[1] - second[0] + 1
    i = np.arange(a1)
    terms = (
        special.betaln(a2 + i, b1 + b2)
        - np.log(b1 + i)
        - special.betaln(1 + i, b1)
        - special.betaln(a2, b2)
    )
    return float(np.clip(np.exp(terms).sum(), 0.0, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values (family-wise error), in the given order."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def mcnemar_power(p_first: float, p_second: float, n: int, alpha: float = 0.05) -> float:
    """Return the power of the exact McNemar test on `n` pairs whose outcomes are independent.

    Real pairs share their start and are mostly positively correlated, so this is the lower side.
    """
    win, lose = p_first * (1 - p_second), p_second * (1 - p_first)
    if not win + lose:
        return 0.0
    m = np.arange(n + 1)
    # Reject when min(wins, losses) <= critical: the largest c with 2 P(Bin(m, 1/2) <= c) <= alpha.
    critical = stats.binom.ppf(alpha / 2, m, 0.5)
    critical -= 2 * stats.binom.cdf(critical, m, 0.5) > alpha
    share = win / (win + lose)
    reject = stats.binom.cdf(critical, m, share) + stats.binom.cdf(critical, m, 1 - share)
    return float((stats.binom.pmf(m, n, win + lose) * reject).sum())


def detectable_difference(
    baseline: float, n: int, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Return the smallest gain over `baseline` that `n` pairs show with probability `power`.

    None if not even a perfect policy would have been told apart from the baseline.
    """

    def missing(gain: float) -> float:
        return mcnemar_power(baseline + gain, baseline, n, alpha) - power

    if n < 1 or baseline >= 1 or missing(1 - baseline) < 0:
        return None
    return float(optimize.brentq(missing, 1e-9, 1 - baseline, xtol=1e-4))


def _hybrid_score(
    first: tuple[int, int], second: tuple[int, int], correlation: float, confidence: float
) -> Interval:
    one, two = rate_interval(*first, confidence), rate_interval(*second, confidence)
    p1, p2 = first[0] / first[1], second[0] / second[1]

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * correlation * a * b + b * b, 0.0))

    return Interval(
        low=p1 - p2 - reach(p1 - one.low, two.high - p2),
        high=p1 - p2 + reach(one.high - p1, p2 - two.low),
    )


def _check_count(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
