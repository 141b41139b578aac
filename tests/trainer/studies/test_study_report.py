"""The page of results says what the runs' folders say, and no more."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from fakes.study_commands import SIZES, install
from hypothesis import given
from hypothesis import strategies as st
from rlco_datasets import spec
from rlco_evaluation.seeds import mean_difference
from rlco_trainer.cli import main
from rlco_trainer.studies import cli
from rlco_trainer.studies import report as report_module
from rlco_trainer.studies.arms import StudyName, Usual, study
from rlco_trainer.studies.cli import StudyCommand
from rlco_trainer.studies.page import HEAD, PAGE, RECORD, Record, page, verdict
from rlco_trainer.studies.paper import REPORTED
from rlco_trainer.studies.report import NAMES
from rlco_trainer.studies.results import read_csv
from rlco_trainer.studies.steps import StepFailedError

ROOT = Path(__file__).resolve().parents[3]


def rate(run, task):
    """RL-Co above the rest by far; SFT co-training and real only alike."""
    if run.startswith("stage2-beta0.5-of-stage1-alpha0.6"):
        return 1.0
    return 1 / 3 if task == "push_cube" else 2 / 3


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Figures have tests of their own, and take as long as all the rest."""
    for module in (cli, report_module):
        monkeypatch.setattr(module, "draw", lambda chosen, rows, path: path.write_bytes(b"PNG"))


def run_studies(out, name="main-table", seeds=(0, 1), sizes=SIZES):
    StudyCommand(name=name, out=out, seeds=seeds, sizes=sizes).run()


def report(out, docs, *more):
    main(["study-report", str(out), "--docs", str(docs), *more])
    return (docs / PAGE).read_text(encoding="utf-8")


def hypothesis_line(text, new, old):
    (line,) = [line for line in text.splitlines() if line.startswith(f"- *{new}* above *{old}*")]
    return line


def test_a_finished_study_is_shown_beside_the_papers(monkeypatch, tmp_path):
    install(monkeypatch, rate)
    run_studies(tmp_path / "runs" / "studies")
    text = report(tmp_path / "runs" / "studies", tmp_path / "docs", "--note", "On a toaster.")
    assert text.startswith(HEAD)
    assert study("main-table", Usual()).question in text
    assert REPORTED["main-table"].markdown() in text
    made = (tmp_path / "runs" / "studies" / "main-table" / "table.md").read_text()
    assert made in text, "the table is the study's own"
    assert hypothesis_line(text, "RL-Co", "SFT co-training").count("**held** in the") == 2
    assert "+50 [+50, +50] points, 2 seeds" in hypothesis_line(text, "RL-Co", "SFT co-training")
    assert hypothesis_line(text, "SFT co-training", "real only").count("**undecided** in the") == 2
    assert "| [main-table](#main-table) | 2 | 0.0 | 10 | 0 | 2 |" in text
    command = (
        "rlco-train study main-table --seeds 0 1 --tasks push_cube open_drawer --sim-episodes 6 "
        "--trials 3 --out runs/studies\n"
    )
    assert command in text
    assert "On a toaster." in text
    assert f"of each task {SIZES.sim_demos} sim demonstrations" in text, "a default, and told"
    assert "Under way" not in text
    assert str(tmp_path) not in text
    for link in re.findall(r"\]\((results/[^)]+)\)", text):
        assert (tmp_path / "docs" / link).stat().st_size > 0
    rows = read_csv(tmp_path / "docs" / "results" / "main-table" / "results.csv")
    assert rows == read_csv(tmp_path / "runs" / "studies" / "main-table" / "results.csv")


def test_a_study_under_way_is_shown_as_far_as_whole_seeds_go(monkeypatch, tmp_path):
    fake = install(monkeypatch, rate)
    out = tmp_path / "studies"
    run_studies(out, seeds=(0,))
    fake.fails = lambda words: (
        words[:2] == ["rlco-up", "eval"] and any("open_drawer" in word for word in words)
    )
    with pytest.raises(StepFailedError, match="told to fail"):
        run_studies(out, seeds=(1,))
    fake.fails = lambda words: words[:2] == ["rlco-train", "eval"]
    with pytest.raises(StepFailedError, match="told to fail"):
        run_studies(out, seeds=(2,))
    journals = {path: path.read_bytes() for path in out.glob("seed-*/journal.json")}
    text = report(out, tmp_path / "docs")
    assert journals == {path: path.read_bytes() for path in out.glob("seed-*/journal.json")}
    assert "the study being unfinished" in text
    record = spec.load(Record, tmp_path / "docs" / "results" / "main-table" / RECORD)
    assert [line.partition(":")[0] for line in record.under_way] == ["seed 1", "seed 2"]
    rows = read_csv(tmp_path / "docs" / "results" / "main-table" / "results.csv")
    assert {(row.place, row.seed) for row in rows} == {("twin", 0), ("twin", 1), ("lab", 0)}
    line = hypothesis_line(text, "RL-Co", "SFT co-training")
    assert "**held** in the twin (+50 [+50, +50] points, 2 seeds)" in line
    assert "**undecided** in the lab (+50 points, one seed)" in line
    absent = re.search(r"Nothing finished of: (.*)\.", text)
    assert absent is not None
    assert absent[1].split(", ") == [f"`{name}`" for name in NAMES if name != "main-table"]


def test_studies_of_several_folders_share_a_page(monkeypatch, tmp_path):
    install(monkeypatch, rate)
    short = replace(SIZES, trials=0)
    run_studies(tmp_path / "large", "main-table", seeds=(0,))
    run_studies(tmp_path / "small", "calibration", seeds=(4, 7), sizes=short)
    report(tmp_path / "large", tmp_path / "docs")
    text = report(tmp_path / "small", tmp_path / "docs", "--names", "calibration")
    assert "## main-table" in text
    assert "## calibration" in text
    assert "The paper does not ask this." in text
    assert "Seeds 4, 7: " in text


def test_seeds_run_elsewhere_join_those_of_the_page(monkeypatch, tmp_path, capsys):
    install(monkeypatch, rate)
    docs, at = tmp_path / "docs", tmp_path / "docs" / "results" / "sim-init"
    for folder, seeds, note in (("a", (4, 1), "Here."), ("b", (2,), "There.")):
        run_studies(tmp_path / folder / "studies", "sim-init", seeds=seeds)
        text = report(tmp_path / folder / "studies", docs, "--note", note)
    assert "--seeds 1 2 4 " in text
    assert "Seeds 1, 4: 0.0 hours, with the runs that other studies share. Here. Seed 2: " in text
    assert [row.seed for row in read_csv(at / "results.csv")][::20] == [1, 2, 4]
    assert "3 seeds [95% interval" in text

    run_studies(tmp_path / "b" / "studies", "sim-init", seeds=(3,))
    text = report(tmp_path / "b" / "studies", docs, "--note", "There.")
    assert "Seeds 2, 3: " in text, "a batch that has grown takes the place of what it was"
    assert "--seeds 1 2 3 4 " in text

    kept = {path: path.read_bytes() for path in at.iterdir()}
    run_studies(tmp_path / "part", "sim-init", seeds=(4,))
    run_studies(tmp_path / "other", "sim-init", seeds=(9,), sizes=replace(SIZES, trials=0))
    for folder, reason in (("part", "lacks 1. Remove"), ("other", "other options than those of")):
        with pytest.raises(SystemExit):
            report(tmp_path / folder, docs)
        assert reason in capsys.readouterr().err
    assert kept == {path: path.read_bytes() for path in at.iterdir()}


def test_seeds_of_other_sizes_are_not_mixed(monkeypatch, tmp_path, capsys):
    install(monkeypatch)
    for seed, trials in ((0, 0), (1, 3)):
        run_studies(tmp_path, "sim-init", seeds=(seed,), sizes=replace(SIZES, trials=trials))
    with pytest.raises(SystemExit):
        report(tmp_path, tmp_path / "docs")
    assert "seed-1 has other sizes than" in capsys.readouterr().err


def test_a_folder_without_studies_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        report(tmp_path, tmp_path / "docs")
    assert "give the --out of `rlco-train study`" in capsys.readouterr().err


@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_a_hypothesis_and_its_opposite_are_never_both_held(values):
    found = verdict(mean_difference(values))
    opposite = verdict(mean_difference([-value for value in values]))
    assert (found, opposite) in {
        ("held", "not held"),
        ("not held", "held"),
        ("undecided", "undecided"),
    }
    if len(values) == 1:
        assert found == "undecided"


def test_every_study_of_the_papers_has_its_numbers():
    assert set(REPORTED) == set(get_args(StudyName)) - {"calibration"}


def test_the_committed_page_is_that_of_the_committed_numbers():
    assert (ROOT / "docs" / PAGE).read_text(encoding="utf-8") == page(ROOT / "docs" / "results")
