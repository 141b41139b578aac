"""What a study found: one row a cell, a table over seeds, and a figure."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rlco_datasets import spec
from rlco_evaluation.analysis import analyse
from rlco_evaluation.blinding import Key
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.seeds import SeedMean, mean_difference, mean_rate
from rlco_evaluation.study import Study as LockedStudy

from rlco_trainer.studies.arms import Arm, Study, StudyName, Test
from rlco_trainer.studies.places import CONTROLS, SeedFolder
from rlco_trainer.studies.steps import StepFailedError

AVERAGE = "average"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm on one task in one place, for one seed."""

    seed: int
    arm: str
    task: str
    place: str
    """`twin`, `lab` or `robot`, and after a comma what is unseen there."""
    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """The observed success rate."""
        return self.successes / self.episodes


class UnfinishedError(ValueError):
    """Trials of a study are still to run."""


def rows_of(name: StudyName, study: Study, seed: SeedFolder) -> list[Row]:
    """Read one seed's results.

    Raises:
        UnfinishedError: if trials are missing.
    """
    rows = twin_rows(study, seed)
    return rows + trial_rows(name, study, seed) if seed.sizes.trials > 0 else rows


def twin_rows(study: Study, seed: SeedFolder) -> list[Row]:
    """Read a seed's evaluations in the twin."""
    rows = []
    for test, task, arm in itertools.product(study.tests, seed.sizes.tasks, study.policies):
        path = seed.sim_results(arm, test) / f"{task}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        rows.append(
            Row(
                seed=seed.seed,
                arm=arm.label,
                task=task,
                place=place("twin", test),
                successes=data["successes"],
                episodes=data["episodes"],
            )
        )
    return rows


def trial_rows(name: StudyName, study: Study, seed: SeedFolder) -> list[Row]:
    """Read a seed's real trials, in the lab or on the robot.

    Raises:
        UnfinishedError: if trials are missing.
        StepFailedError: if they are of other policies than the arms'.
    """
    shown = ((name, study.arms), (CONTROLS, study.controls))
    return [
        row
        for test, task, (which, arms) in itertools.product(study.tests, seed.sizes.tasks, shown)
        if arms
        for row in _trials(seed, which, arms, task, test)
    ]


def within(place: str) -> str:
    """Return a place with its preposition."""
    return f"{'on' if place.startswith('robot') else 'in'} the {place}"


def place(where: str, test: Test) -> str:
    """Return what a row says of where its episodes were, and on what."""
    return f"{where}, {test}" if test else where


def key_of(at: Path, arms: Sequence[Arm]) -> Key:
    """Read the key of locked trials, and check that the arms' policies are what is tried there.

    Raises:
        StepFailedError: if another policy goes by an arm's label, or none.
    """
    key = spec.load(Key, at / "key.yaml")
    locked = {entry.label: Path(entry.checkpoint).parent.name for entry in key.entries}
    other = [
        f"{arm.label} was {locked.get(arm.label, 'not tried')} and is to be {arm.folder}"
        for arm in arms
        if locked.get(arm.label) != arm.folder
    ]
    if other:
        raise StepFailedError(
            f"{at} holds trials of other policies ({'; '.join(other)}). Give the --real-demos, "
            "--alpha, --beta and --no-controls that they were locked with, or another --out."
        )
    return key


def _trials(seed: SeedFolder, name: str, arms: Sequence[Arm], task: str, test: Test) -> list[Row]:
    at = seed.trials_folder(name, task, test)
    study, key = spec.load(LockedStudy, at / "study.yaml"), key_of(at, arms)
    with Ledger.open(seed.ledger(at), study) as ledger:
        result = analyse(study, ledger, key)
    if not result.finished:
        raise UnfinishedError(f"{at}: {result.remaining} trials are still to run")
    labels = {arm.label for arm in arms}
    return [
        Row(
            seed=seed.seed,
            arm=policy.label,
            task=task,
            place=place(seed.reality, test),
            successes=policy.successes,
            episodes=policy.n,
        )
        for policy in result.policies
        if policy.label in labels
    ]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write one line a row, with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*(field.name for field in fields(Row)), "rate"])
        writer.writeheader()
        writer.writerows({**asdict(row), "rate": f"{row.rate:.4f}"} for row in rows)


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote.

    Raises:
        SpecError: if the file has other columns, or a cell is no such value.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        wanted = [*(field.name for field in fields(Row)), "rate"]
        if table.fieldnames != wanted:
            raise spec.SpecError(f"{path}: columns are {table.fieldnames}, expected {wanted}")
        try:
            return [
                Row(
                    seed=int(line["seed"]),
                    arm=line["arm"],
                    task=line["task"],
                    place=line["place"],
                    successes=int(line["successes"]),
                    episodes=int(line["episodes"]),
                )
                for line in table
            ]
        except ValueError as error:
            raise spec.SpecError(f"{path}, line {table.line_num}: {error}") from error


def over_seeds(rows: Sequence[Row], arm: str, task: str, place: str) -> SeedMean:
    """Return a cell's mean over seeds; the task `average` is the mean of a seed's tasks."""
    return mean_rate(list(by_seed(rows, arm, task, place).values()))


def by_seed(rows: Sequence[Row], arm: str, task: str, place: str) -> Mapping[int, float]:
    """Return a cell's rate for each seed."""
    chosen = [
        row
        for row in rows
        if row.arm == arm and row.place == place and (task in (row.task, AVERAGE))
    ]
    seeds = sorted({row.seed for row in chosen})
    return {seed: _mean([row.rate for row in chosen if row.seed == seed]) for seed in seeds}


def columns(rows: Sequence[Row]) -> list[str]:
    """Return the tasks of a table or figure; with several, their average is the last."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    return tasks if len(tasks) == 1 else [*tasks, AVERAGE]


def markdown(study: Study, rows: Sequence[Row]) -> str:
    """Return the table: a row an arm and a difference, a column a task, for each place.

    The last column names each seed's number too, in the order of the seeds.
    """
    tasks = columns(rows)
    lines = []
    for place in dict.fromkeys(row.place for row in rows):
        episodes = sorted({row.episodes for row in rows if row.place == place})
        seeds = len({row.seed for row in rows if row.place == place})
        lines += [
            f"**{study.title}: {place}** (success rate in %, "
            + (
                f"mean over {seeds} seeds [95% interval of the mean] (each seed)"
                if seeds > 1
                else "one seed"
            )
            + f", {' or '.join(map(str, episodes))} episodes a cell and seed)",
            "",
            "| | " + " | ".join(task.replace("_", " ") for task in tasks) + " |",
            "|---" * (len(tasks) + 1) + "|",
        ]
        for arm in study.arms:
            found = [over_seeds(rows, arm.label, task, place) for task in tasks]
            lines.append(_line(arm.label, found))
        for arm in study.controls:
            found = [over_seeds(rows, arm.label, task, place) for task in tasks]
            lines.append(_line(f"control: {arm.label}", found))
        for new, old in study.comparisons:
            found = [difference(rows, new, old, task, place) for task in tasks]
            lines.append(_line(f"*{new} minus {old}*", found))
        lines.append("")
    return "\n".join(lines)


def _line(name: str, found: Sequence[SeedMean]) -> str:
    cells = [str(mean) for mean in found]
    if len(found[-1].values) > 1:
        cells[-1] += f" ({', '.join(f'{100 * value:.0f}' for value in found[-1].values)})"
    return f"| {name} | " + " | ".join(cells) + " |"


def difference(rows: Sequence[Row], new: str, old: str, task: str, place: str) -> SeedMean:
    """Return the mean over seeds of an arm's rate minus another's, paired by seed."""
    a, b = by_seed(rows, new, task, place), by_seed(rows, old, task, place)
    return mean_difference([a[seed] - b[seed] for seed in a])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
