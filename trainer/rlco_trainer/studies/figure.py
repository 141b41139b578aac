"""A study as a picture: bars by task, or lines over the study's axis; intervals over seeds.

What was tried along an axis stands at even distances, whatever lies between. Controls that are not
among the arms are more bars, hatched, or level lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlco_evaluation.seeds import SeedMean

from rlco_trainer.studies.arms import Study
from rlco_trainer.studies.results import AVERAGE, Row, by_seed, columns, over_seeds, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = {
    "real only": "#8a8f98",
    "SFT co-training": "#d98e2b",
    "RL-Co": "#2463a8",
    "sim only": "#7a4ea3",
    "RL of sim only": "#3c8d5a",
    "RL-Co, beta 0": "#b5473c",
    "RL-Co without RL": "#5a6b7b",
}
"""The same in every figure; grey, orange and blue as in the trial report."""
OTHERS = ("#7a4ea3", "#c9a227", "#2a9d9a", "#cf6a9c")
"""For what only one study has."""
CONTROL = "control: "


def draw(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Write the figure as PNG, one panel a place."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(row.place for row in rows))
    figure = Figure(figsize=(7.2 if study.axis else 9.0, 3.4 * len(places)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, place in zip(
        figure.subplots(len(places), 1, squeeze=False)[:, 0], places, strict=True
    ):
        (_lines if study.axis else _bars)(axes, study, rows, place)
        seeds = len({row.seed for row in rows if row.place == place})
        axes.set_ylabel(f"success {within(place)} (%)\n{seeds} seed{'s' if seeds > 1 else ''}")
        axes.set_ylim(0, 100)
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(
        f"{study.title}\nmean over seeds (dots: each), 95% interval of the mean", fontsize=10
    )
    handles, labels = figure.axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i].startswith(CONTROL))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=3 if len(labels) in (5, 6) else min(4, len(labels)),
        fontsize=8,
    )
    figure.savefig(path, dpi=150)


def _bars(axes: Axes, study: Study, rows: Sequence[Row], place: str) -> None:
    tasks = columns(rows)
    width = 0.8 / len(study.policies)
    colours = _colours([arm.label for arm in study.policies])
    for i, arm in enumerate(study.policies):
        control = arm in study.controls
        means = [over_seeds(rows, arm.label, task, place) for task in tasks]
        places_x = [t + (i - (len(study.policies) - 1) / 2) * width for t in range(len(tasks))]
        axes.bar(
            places_x,
            [100 * mean.mean for mean in means],
            width * 0.92,
            yerr=_reach(means),
            label=f"{CONTROL}{arm.label}" if control else arm.label,
            color=colours[i],
            hatch="////" if control else None,
            edgecolor="white",
            linewidth=0,
            error_kw={"elinewidth": 0.9, "ecolor": "#333333"},
        )
        for x, task in zip(places_x, tasks, strict=True):
            _seeds(axes, x, by_seed(rows, arm.label, task, place).values())
    axes.set_xticks(range(len(tasks)), [task.replace("_", " ") for task in tasks])


def _lines(axes: Axes, study: Study, rows: Sequence[Row], place: str) -> None:
    ticks = sorted({arm.x for arm in study.arms if arm.x is not None})
    named = list(dict.fromkeys(arm.series for arm in study.arms))
    colours = _colours(named)
    for i, series in enumerate(named):
        aside = 0.06 * (i - (len(named) - 1) / 2)  # intervals at one x would hide each other
        arms = sorted(
            (ticks.index(arm.x) + aside, arm.label)
            for arm in study.arms
            if arm.series == series and arm.x is not None
        )
        means = [over_seeds(rows, label, AVERAGE, place) for _, label in arms]
        axes.errorbar(
            [x for x, _ in arms],
            [100 * mean.mean for mean in means],
            yerr=_reach(means),
            label=series,
            color=colours[i],
            marker="o",
            capsize=3,
        )
        for x, label in arms:
            _seeds(axes, x, by_seed(rows, label, AVERAGE, place).values())
    for arm in study.controls:
        level = 100 * over_seeds(rows, arm.label, AVERAGE, place).mean
        (colour,) = _colours([arm.label])
        axes.axhline(level, color=colour, ls="--", lw=1.1, label=f"{CONTROL}{arm.label}")
    axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(study.axis)


def _colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each name: its own, or the next of the others."""
    others = itertools.cycle(OTHERS)
    return [NAMED.get(name) or next(others) for name in names]


def _seeds(axes: Axes, x: float, rates: Collection[float]) -> None:
    """Mark each seed's rate, where there are several."""
    if len(rates) > 1:
        heights = [100 * rate for rate in rates]
        axes.scatter([x] * len(heights), heights, s=9, color="white", edgecolor="#333333", zorder=3)


def _reach(means: Sequence[SeedMean]) -> list[list[float]]:
    """Return how far the intervals reach down and up, percent; 0 for one seed."""
    down = [m.mean - m.interval.low if m.interval else 0.0 for m in means]
    up = [m.interval.high - m.mean if m.interval else 0.0 for m in means]
    return [[100 * value for value in side] for side in (down, up)]
