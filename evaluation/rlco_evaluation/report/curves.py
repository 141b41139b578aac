"""Learning curves as panels of scaled points, ready to be drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rlco_evaluation.report.inputs import Curve

MAX_POINTS = 240
SMOOTH_ABOVE = 40
Points = list[tuple[float, float]]


class CurveError(ValueError):
    """A metrics file is missing, malformed or lacks a scalar."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis: `at` in percent of the axis, from the left or the top."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a panel: "x,y x,y ..." in percent.

    `raw` is drawn faint behind `line`; `last` is the mean of the last five points.
    """

    label: str
    color: int
    line: str
    raw: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One small chart: a scalar over training steps."""

    group: str
    scalar: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    series: tuple[Series, ...]


def read_metrics(path: Path, scalars: Sequence[str]) -> dict[str, Points]:
    """Return (step, value) of each scalar of a metrics.jsonl; a torn last line is left out.

    Raises:
        CurveError: if the file cannot be read, a line is malformed, or a scalar never occurs.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CurveError(
            f"{path}: cannot read these metrics ({error.strerror}). Check the path."
        ) from error
    points: dict[str, Points] = {scalar: [] for scalar in scalars}
    seen: set[str] = set()
    for number, text in enumerate(lines, start=1):
        try:
            row = json.loads(text)
            step = float(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise CurveError(f"{path} line {number}: not a JSON object with a step") from error
        seen.update(row)
        for scalar in scalars:
            value = row.get(scalar)
            if isinstance(value, (int, float)) and math.isfinite(value):
                points[scalar].append((step, float(value)))
    for scalar in scalars:
        if not points[scalar]:
            known = ", ".join(sorted(seen - {"step", "wall_s"})) or "none"
            raise CurveError(f"{path}: no finite value of {scalar!r}; it has {known}")
    return points


def panels(curves: Sequence[Curve], folder: Path, colors: Mapping[str, int]) -> tuple[Panel, ...]:
    """Return the panels of `curves`; a label in `colors` has its colour, others the next free.

    Raises:
        CurveError: as `read_metrics` does.
    """
    colors = dict(colors)
    collected: dict[tuple[str, str], dict[str, Points]] = {}
    for curve in curves:
        colors.setdefault(curve.label, len(colors))
        for scalar, points in read_metrics(folder / curve.path, curve.scalars).items():
            collected.setdefault((curve.group, scalar), {})[curve.label] = points
    return tuple(
        _panel(group, scalar, lines, colors) for (group, scalar), lines in collected.items()
    )


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return numbers 1, 2 or 5 times a power of ten apart, from below `low` to above `high`."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def smooth(points: Points) -> Points:
    """Return the centred moving average of long curves; short ones as they are."""
    if len(points) <= SMOOTH_ABOVE:
        return points
    reach = len(points) // 30
    smoothed = []
    for i, (step, _) in enumerate(points):
        side = min(reach, i, len(points) - 1 - i)
        window = points[i - side : i + side + 1]
        smoothed.append((step, sum(value for _, value in window) / len(window)))
    return smoothed


def _panel(
    group: str, scalar: str, lines: Mapping[str, Points], colors: Mapping[str, int]
) -> Panel:
    thinned = {label: _thin(sorted(points)) for label, points in lines.items()}
    steps = [step for points in thinned.values() for step, _ in points]
    y_ticks = nice_ticks(*_range([v for points in thinned.values() for _, v in points]))
    first, last = min(steps), max(max(steps), min(steps) + 1)
    x_ticks = [t for t in nice_ticks(first, last) if first <= t <= last]

    def text(points: Points) -> str:
        low, high = y_ticks[0], y_ticks[-1]
        return " ".join(
            f"{100 * (step - first) / (last - first):.2f},"
            f"{min(max(100 * (high - value) / (high - low), -2.0), 102.0):.2f}"
            for step, value in points
        )

    return Panel(
        group=group,
        scalar=scalar,
        x=tuple(Tick(at=100 * (t - first) / (last - first), text=_number(t)) for t in x_ticks),
        y=tuple(
            Tick(at=100 * (y_ticks[-1] - t) / (y_ticks[-1] - y_ticks[0]), text=_number(t))
            for t in y_ticks
        ),
        series=tuple(
            Series(
                label=label,
                color=colors[label],
                line=text(smooth(points)),
                raw=text(points) if len(points) > SMOOTH_ABOVE else "",
                last=_number(sum(value for _, value in points[-5:]) / len(points[-5:])),
            )
            for label, points in thinned.items()
        ),
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the range to show: everything, or without the outermost 1% where they dwarf it."""
    ordered = sorted(values)
    cut = len(ordered) // 100
    low, high = ordered[cut], ordered[-1 - cut]
    if ordered[-1] - ordered[0] <= 3 * (high - low):
        low, high = ordered[0], ordered[-1]
    return low, high


def _thin(points: Points) -> Points:
    """Return at most MAX_POINTS points: means of equal runs of neighbours."""
    if len(points) <= MAX_POINTS:
        return points
    edges = [round(i * len(points) / MAX_POINTS) for i in range(MAX_POINTS + 1)]
    return [
        (
            sum(step for step, _ in points[a:b]) / (b - a),
            sum(value for _, value in points[a:b]) / (b - a),
        )
        for a, b in pairwise(edges)
    ]


def _number(value: float) -> str:
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    text = f"{value:.0f}" if abs(value) >= 1e3 else f"{value:.3g}"
    return text.replace("-", "−")
