"""Several seeds of one experiment: means with intervals over the seeds, not over the trials.

A seed draws the lab, the demonstrations, the training and the trials anew, so the spread over seeds
is what another lab should expect; trials of one seed are not independent repetitions of a method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t as student_t

from rlco_evaluation.statistics import Interval

Rates = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True, kw_only=True)
class SeedMean:
    """A mean over seeds and its t interval; the interval is None for a single seed."""

    mean: float
    interval: Interval | None
    values: tuple[float, ...]

    def __str__(self) -> str:
        """Return percent: `64 [52, 76]`."""
        if self.interval is None:
            return f"{100 * self.mean:.0f}"
        low, high = 100 * self.interval.low, 100 * self.interval.high
        return f"{100 * self.mean:.0f} [{low:.0f}, {high:.0f}]"


def mean_rate(values: Sequence[float]) -> SeedMean:
    """Return the mean of one rate in [0, 1] a seed, with its t interval cut off at 0 and 1.

    Raises:
        ValueError: if there is no value or one is not in [0, 1].
    """
    return _mean(values, lowest=0.0)


def mean_difference(values: Sequence[float]) -> SeedMean:
    """Return the mean of one difference of rates a seed, its t interval cut off at -1 and 1.

    Raises:
        ValueError: if there is no value or one is not in [-1, 1].
    """
    return _mean(values, lowest=-1.0)


def _mean(values: Sequence[float], lowest: float) -> SeedMean:
    """Return the mean with Student's t interval, 95%, of it, without what no mean can be."""
    if not values or not all(lowest <= value <= 1 for value in values):
        raise ValueError(f"expected values in [{lowest:g}, 1], one a seed; got {list(values)}")
    n = len(values)
    mean = sum(values) / n
    interval = None
    if n > 1:
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
        reach = float(student_t.ppf(0.975, n - 1)) * spread
        interval = Interval(low=max(lowest, mean - reach), high=min(1.0, mean + reach))
    return SeedMean(mean=mean, interval=interval, values=tuple(values))


def markdown_table(rates: Rates, comparisons: Sequence[tuple[str, str]]) -> str:
    """Return a Markdown table of success rates in percent: a row a policy, a column a place.

    Args:
        rates: place ("twin", "lab") -> policy -> one success rate in [0, 1] a seed, the seeds in
            the same order throughout.
        comparisons: (new, old): rows of paired differences, in percentage points.
    """
    places = list(rates)
    policies = list(rates[places[0]])
    lines = [
        "| policy | " + " | ".join(places) + " |",
        "|---|" + "---|" * len(places),
    ]
    for policy in policies:
        lines.append(_row(policy, [mean_rate(rates[place][policy]) for place in places]))
    for new, old in comparisons:
        gains = [
            mean_difference(
                [a - b for a, b in zip(rates[place][new], rates[place][old], strict=True)]
            )
            for place in places
        ]
        lines.append(_row(f"*{new} minus {old}*", gains))
    return "\n".join(lines) + "\n"


def _row(name: str, columns: Sequence[SeedMean]) -> str:
    cells = [
        f"{mean} ({', '.join(f'{100 * value:.0f}' for value in mean.values)})" for mean in columns
    ]
    return f"| {name} | " + " | ".join(cells) + " |"
