"""Tables and figures say what the rows say."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from rlco_trainer.studies.arms import Usual, study
from rlco_trainer.studies.figure import draw
from rlco_trainer.studies.results import AVERAGE, Row, by_seed, markdown, over_seeds, write_csv


def make_rows(found, *, seeds=(0, 1, 2)):
    rng = np.random.default_rng(0)
    return [
        Row(
            seed=seed,
            arm=arm.label,
            task=task,
            place=place,
            successes=int(rng.integers(2, 9)) + min(i, 1),
            episodes=10,
        )
        for seed in seeds
        for i, arm in enumerate(found.policies)
        for task in ("push_cube", "open_drawer")
        for place in ("twin", "lab")
    ]


def test_the_average_is_that_of_a_seeds_tasks():
    found = study("main-table", Usual(real_demos=8))
    rows = make_rows(found)
    label = found.arms[1].label
    own = [r.rate for r in rows if r.arm == label and r.place == "lab" and r.seed == 1]
    assert by_seed(rows, label, AVERAGE, "lab")[1] == pytest.approx(np.mean(own))
    mean = over_seeds(rows, label, AVERAGE, "lab")
    assert mean.mean == pytest.approx(np.mean(list(by_seed(rows, label, AVERAGE, "lab").values())))
    assert mean.interval is not None
    assert mean.interval.low < mean.mean < mean.interval.high


@pytest.mark.parametrize("name", ["main-table", "sim-init"])
def test_the_table_has_every_cell_and_the_paired_differences(name):
    found = study(name, Usual(real_demos=8))
    rows = make_rows(found)
    text = markdown(found, rows)
    for place in ("twin", "lab"):
        assert f"{found.title}: {place}" in text
    for arm in found.arms:
        assert text.count(f"| {arm.label} |") == 2
    for arm in found.controls:
        assert text.count(f"| control: {arm.label} |") == 2
    new, old = found.comparisons[0]
    line = next(line for line in text.splitlines() if line.startswith(f"| *{new} minus {old}*"))
    a, b = (by_seed(rows, label, "push_cube", "twin") for label in (new, old))
    expected = np.mean([a[seed] - b[seed] for seed in a])
    assert line.split("|")[2].split("[")[0].strip() == f"{100 * expected:.0f}"


def test_the_csv_holds_every_row(tmp_path):
    found = study("sim-init", Usual(real_demos=8))
    rows = make_rows(found)
    write_csv(rows, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    assert float(read[0]["rate"]) == pytest.approx(rows[0].rate, abs=1e-4)
    assert read[0]["arm"] == rows[0].arm


@pytest.mark.parametrize("name", ["main-table", "data-efficiency", "beta"])
def test_a_figure_shows_every_place(tmp_path, name):
    found = study(name, Usual(real_demos=8))
    draw(found, make_rows(found), tmp_path / "figure.png")
    image = cv2.imread(str(tmp_path / "figure.png"))
    halves = np.array_split(image, 2)
    for half in halves:
        assert (half.min(axis=2) < 200).mean() > 0.005


def test_one_seed_has_no_interval():
    found = study("beta", Usual(real_demos=8))
    rows = make_rows(found, seeds=(0,))
    assert over_seeds(rows, found.arms[0].label, AVERAGE, "twin").interval is None
    assert "[" not in markdown(found, rows).splitlines()[4]
