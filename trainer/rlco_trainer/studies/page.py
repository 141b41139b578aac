"""The page of results: each study's question, the paper's numbers, ours, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rlco_datasets import spec
from rlco_evaluation.seeds import SeedMean

from rlco_trainer.studies.arms import Study, StudyName, Usual, study
from rlco_trainer.studies.paper import REPORTED
from rlco_trainer.studies.results import AVERAGE, Row, difference, markdown, read_csv, within

PAGE, RECORD, ROWS, FIGURE = "results.md", "study.yaml", "results.csv", "figure.png"
Verdict = Literal["held", "not held", "undecided"]

HEAD = """\
# Results of the studies, beside the paper's

Written by `rlco-train study-report` from the folders in `results/`; not by hand.

"The lab" is the simulated one: a hidden twin, drawn anew for each seed, that demonstrations are
collected in over ROS 2 and trials are run in, blind and interleaved. "The twin" is the one that
policies are trained in. A seed is one lab, one set of demonstrations, one training of every arm and
one set of trials; the intervals are of the mean over seeds (95%, Student's t, without what no rate
can be), and so are those of differences, which are paired by seed.

A control takes one thing away from RL-Co, to see what that was worth; the paper has none of them.
`main-table` tries them among its arms. The other studies share trials of them, blind and
interleaved among themselves, from the same starts in the same labs.

A hypothesis says that one way to make a policy succeeds more often than another, on average over
the tasks. It is *held* where the interval of the difference lies above zero, *not held* where it
lies below, *undecided* otherwise, as with a single seed. Intervals are not widened for the number
of hypotheses: of 40 true nulls, one would be called held and one not held.
"""


ROBOT = """\
"The robot" is a real bench: demonstrations recorded on it once, and blind, interleaved trials of
each seed's policies. "The twin" is then the one that was measured there.
"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Seeds that were run in one folder."""

    seeds: tuple[int, ...]
    hours: float
    """Of all steps of the seeds, those shared with other studies included."""
    under_way: tuple[str, ...]
    """Seeds with steps still to do, and how many."""
    note: str
    """What a reader should know of the run."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a study's rows came about: each seed in one of the batches."""

    name: StudyName
    usual: Usual
    options: str
    """What was typed, but for the seeds and the folder."""
    sizes: str
    """What each policy learnt from and for how long, defaults included: a sentence."""
    out: str
    """The folder, as typed."""
    batches: tuple[Batch, ...]

    @property
    def study(self) -> Study:
        """The study."""
        return study(self.name, self.usual)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that have rows."""
        return tuple(sorted(seed for batch in self.batches for seed in batch.seeds))

    @property
    def under_way(self) -> tuple[str, ...]:
        """What is still to do, of all seeds."""
        return tuple(line for batch in self.batches for line in batch.under_way)

    @property
    def hours(self) -> float:
        """Of all seeds."""
        return sum(batch.hours for batch in self.batches)

    @property
    def command(self) -> str:
        """What makes all of it."""
        words = ["rlco-train study", self.name, "--seeds", *map(str, self.seeds), self.options]
        return " ".join([*filter(None, words), "--out", self.out])


def verdict(gain: SeedMean) -> Verdict:
    """Say what a paired difference makes of the hypothesis that it is above zero."""
    if gain.interval is None:
        return "undecided"
    if gain.interval.low > 0:
        return "held"
    return "not held" if gain.interval.high < 0 else "undecided"


def page(results: Path) -> str:
    """Return the page of every study that has a folder in `results`.

    Raises:
        SpecError: if a folder's files are malformed.
    """
    names: tuple[StudyName, ...] = get_args(StudyName)
    sections, lines, absent = [], [], []
    shown: list[Row] = []
    for name in names:
        folder = results / name
        if not (folder / RECORD).is_file():
            absent.append(f"`{name}`")
            continue
        record, rows = spec.load(Record, folder / RECORD), read_csv(folder / ROWS)
        shown += rows
        sections.append(section(record, rows, Path(results.name) / name))
        lines.append(_summary(record, rows))
    head = [HEAD]
    if lines:
        columns = ("study", "seeds", "hours", "held", "not held", "undecided")
        head += [_line(columns), "|---" * len(columns) + "|", *lines, ""]
    if any("robot" in row.place for row in shown):
        head.append(ROBOT)
    if absent:
        head.append(f"Nothing finished of: {', '.join(absent)}.\n")
    return "\n".join([*head, *sections])


def section(record: Record, rows: Sequence[Row], folder: Path) -> str:
    """Return a study's part of the page; `folder` is where its files are, seen from the page."""
    chosen = record.study
    reported = REPORTED.get(record.name)
    lines = [
        f"## {record.name}",
        "",
        chosen.question,
        "",
        "The paper, success in %:\n\n" + reported.markdown()
        if reported
        else "The paper does not ask this.\n",
        "Ours:" if not record.under_way else "Ours so far, the study being unfinished:",
        "",
        markdown(chosen, rows),
        f"![{chosen.title}]({folder / FIGURE})",
        "",
        *(_hypothesis(chosen, rows, new, old) for new, old in chosen.comparisons),
        "",
        f"{record.sizes} {_took(record)} Every row: [{ROWS}]({folder / ROWS}). The command:",
        "",
        f"```bash\n{record.command}\n```",
        "",
    ]
    return "\n".join(lines)


def _hypothesis(chosen: Study, rows: Sequence[Row], new: str, old: str) -> str:
    """Return one line: a hypothesis, and what became of it in each place."""
    told = []
    for place in dict.fromkeys(row.place for row in rows):
        gain = difference(rows, new, old, AVERAGE, place)
        told.append(f"**{verdict(gain)}** {within(place)} ({_points(gain)})")
    return f"- *{new}* above *{old}*: {', '.join(told)}."


def _points(gain: SeedMean) -> str:
    seeds = len(gain.values)
    if gain.interval is None:
        return f"{100 * gain.mean:+.0f} points, one seed"
    low, high = 100 * gain.interval.low, 100 * gain.interval.high
    return f"{100 * gain.mean:+.0f} [{low:+.0f}, {high:+.0f}] points, {seeds} seeds"


def _took(record: Record) -> str:
    return " ".join(_batch(batch) for batch in record.batches)


def _batch(batch: Batch) -> str:
    seeds = ", ".join(map(str, batch.seeds))
    told = f"Seed{'s' if len(batch.seeds) > 1 else ''} {seeds}: "
    told += f"{batch.hours:.1f} hours, with the runs that other studies share."
    if batch.under_way:
        told += f" Under way: {'; '.join(batch.under_way)}."
    return f"{told} {batch.note}".strip()


def _summary(record: Record, rows: Sequence[Row]) -> str:
    chosen = record.study
    verdicts = [
        verdict(difference(rows, new, old, AVERAGE, place))
        for new, old in chosen.comparisons
        for place in dict.fromkeys(row.place for row in rows)
    ]
    counts = [str(verdicts.count(kind)) for kind in get_args(Verdict)]
    seeds = str(len({row.seed for row in rows}))
    if record.under_way:
        seeds += ", unfinished"
    link = f"[{record.name}](#{record.name})"
    return _line((link, seeds, f"{record.hours:.1f}", *counts))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
