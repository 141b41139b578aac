"""The result in plain words, no surer than the numbers are."""

from __future__ import annotations

from rlco_evaluation.analysis import POWER, Analysis, ComparisonResult
from rlco_evaluation.statistics import Interval


def percent(share: float) -> str:
    """Return a share as whole percent, e.g. "83%"."""
    return f"{100 * share:.0f}%"


def points(share: float) -> str:
    """Return a signed difference in percentage points, e.g. "+17" or "−5"."""
    rounded = round(100 * share)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def p_value(p: float) -> str:
    """Return a p-value for a table."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}"


def probability(share: float) -> str:
    """Return a posterior probability as percent, never rounded to certainty."""
    if share > 0.999:
        return "> 99.9%"
    return f"{100 * share:.1f}%"


def span(interval: Interval | None) -> str:
    """Return an interval of a rate in percent, e.g. "66–93%"."""
    if interval is None:
        return "–"
    return f"{100 * interval.low:.0f}–{100 * interval.high:.0f}%"


def verdict(analysis: Analysis) -> str:
    """Return the result in one line."""
    if not analysis.done:
        return "No trial is done yet."
    better: dict[str, list[str]] = {}
    open_pairs = []
    for comparison in analysis.comparisons:
        first, second = comparison.first.label, comparison.second.label
        if comparison.decided:
            better.setdefault(first, []).append(second)
        else:
            open_pairs.append(f"{first} and {second} could not be told apart")
    parts = [f"{first} is better than {_list(others)}" for first, others in better.items()]
    parts += open_pairs
    if not parts:
        parts = [
            f"{policy.label} succeeded in {policy.successes} of {policy.n} trials"
            for policy in analysis.policies
        ]
    text = "; ".join(parts) + "."
    return text if analysis.complete else f"So far: {text}"


def sentence(comparison: ComparisonResult, alpha: float) -> str:
    """Return one comparison in words, with its uncertainty."""
    first, second = comparison.first.label, comparison.second.label
    counts = comparison.counts
    if counts.first == counts.second:
        observed = f"{first} and {second} succeeded equally often"
    else:
        observed = (
            f"{first} succeeded {abs(round(100 * comparison.difference))} points "
            f"{'more' if comparison.difference > 0 else 'less'} often than {second}"
        )
    p = p_value(comparison.p_adjusted)
    evidence = (
        f"{counts.first} against {counts.second} of {counts.n} paired trials; "
        f"{percent(1 - alpha)} interval {points(comparison.interval.low)} to "
        f"{points(comparison.interval.high)} points; "
        f"adjusted p {p if p.startswith('<') else '= ' + p}"
    )
    if comparison.decided:
        conclusion = "The difference is larger than chance explains."
    else:
        conclusion = "Chance alone could explain this: it is not evidence that they are equal."
    return f"{observed} ({evidence}). {conclusion}"


def detectable(comparison: ComparisonResult) -> str:
    """Return what this comparison could have shown."""
    second = comparison.second
    n = comparison.counts.n
    if comparison.detectable is None:
        return (
            f"Against {second.label} (observed {percent(second.rate)}), {n} pairs could not have "
            f"shown any gain with {percent(POWER)} probability, however large."
        )
    gain = comparison.detectable
    return (
        f"Against {second.label} (observed {percent(second.rate)}), {n} pairs show a gain of "
        f"{points(gain)} points, to {percent(second.rate + gain)}, with {percent(POWER)} "
        "probability; a smaller gain may well go unseen."
    )


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
