"""Small line plots as SVG, to stand in a page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH, HEIGHT = 300, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 24, 22


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve: its name, values `(N,)`, colour and width (px); a wide one shows below others."""

    label: str
    values: Array
    colour: str
    width: float = 1.6


def svg(title: str, time_s: Array, lines: Sequence[Line]) -> str:
    """Return a plot of curves over the same times `(N,)`, seconds."""
    everything = np.concatenate([line.values for line in lines])
    low, high = float(everything.min()), float(everything.max())
    margin = max(0.05 * (high - low), 0.5)
    low, high = low - margin, high + margin
    first, last = float(time_s[0]), float(time_s[-1])
    span_s = max(last - first, 1e-9)

    def x(value: Array) -> Array:
        return LEFT + (value - first) / span_s * (WIDTH - LEFT - RIGHT)

    def y(value: Array) -> Array:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    curves, legend = "", ""
    for i, line in enumerate(lines):
        points = " ".join(
            f"{a:.1f},{b:.1f}" for a, b in zip(x(time_s), y(line.values), strict=True)
        )
        curves += (
            f'<polyline fill="none" stroke="{line.colour}" stroke-width="{line.width}" '
            f'points="{points}"/>'
        )
        legend += (
            f'<text x="{WIDTH - RIGHT - 36 * (len(lines) - 1 - i)}" y="14" text-anchor="end" '
            f'fill="{line.colour}">{html.escape(line.label)}</text>'
        )
    frame = f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#999"/>'
    ticks = "".join(
        f'<text x="{LEFT - 5}" y="{float(y(np.array([v]))[0]) + 4:.1f}" text-anchor="end">'
        f"{v:.0f}</text>"
        for v in (low + margin, high - margin)
    ) + "".join(
        f'<text x="{place}" y="{HEIGHT - 6}" text-anchor="{anchor}">{v:.1f} s</text>'
        for v, place, anchor in ((first, LEFT, "start"), (last, WIDTH - RIGHT, "end"))
    )
    return (
        f'<svg role="img" aria-label="{html.escape(title)}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#555">'
        f'<text x="{LEFT}" y="14" fill="#222">{html.escape(title)}</text>'
        f"{legend}{frame}{ticks}{curves}</svg>"
    )
