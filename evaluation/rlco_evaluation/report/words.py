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


def equals_p(p: float) -> str:
    """Return a p-value for a sentence: "= 0.012" or "< 0.001"."""
    text = p_value(p)
    return text if text.startswith("<") else f"=\u00a0{text}"


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
    if not analysis.finished:
        return f"Not finished: {len(analysis.done)} of {analysis.study.trial_count} trials done."
    better: dict[str, list[str]] = {}
    open_pairs = []
    for comparison in analysis.comparisons:
        first, second = comparison.first.label, comparison.second.label
        if comparison.decided:
            better.setdefault(first, []).append(second)
        else:
            open_pairs.append(f"{first} and {second}")
    parts = [f"{first} is better than {_list(others)}" for first, others in better.items()]
    if open_pairs:
        parts.append(f"not told apart: {', '.join(open_pairs)}")
    if not parts:
        parts = [
            f"{policy.label} succeeded in {policy.successes} of {policy.n} trials"
            for policy in analysis.policies
        ]
    text = "; ".join(parts) + "."
    return text if better or not open_pairs else text[0].upper() + text[1:]


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
    evidence = (
        f"{counts.first} against {counts.second} of {counts.n} paired trials; "
        f"{percent(1 - alpha)} interval {points(comparison.interval.low)} to "
        f"{points(comparison.interval.high)} points; "
        f"adjusted p\u00a0{equals_p(comparison.p_adjusted)}"
    )
    if comparison.decided:
        conclusion = "The difference is larger than chance explains."
    else:
        conclusion = "Too little to tell them apart, which is not evidence that they are equal."
    return f"{observed} ({evidence}). {conclusion}"


def detectable(analysis: Analysis) -> list[str]:
    """Return what gain each policy that others were compared against would have let us see."""
    lines: dict[str, str] = {}
    for comparison in analysis.comparisons:
        baseline, n = comparison.second, comparison.counts.n
        against = f"Against {baseline.label}, which succeeded {percent(baseline.rate)} of the time"
        if comparison.detectable is None:
            line = f"{against}, {n} pairs were too few to reliably show any gain, however large."
        else:
            line = (
                f"{against}, {n} pairs show a gain of {100 * comparison.detectable:.0f} points (to "
                f"{percent(baseline.rate + comparison.detectable)}) in {percent(POWER)} of such "
                "studies. A smaller gain may well go unseen."
            )
        lines.setdefault(baseline.code, line)
    return list(lines.values())


def without_common_prefix(names: list[str]) -> dict[str, str]:
    """Return a short form of each name: without what all begin with, numbers kept whole."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), len(first))
    prefix = first[:same].rstrip("0123456789")
    return {name: name.removeprefix(prefix) or name for name in names}


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
