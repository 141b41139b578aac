"""The demo and a study from their first command to their last, at sizes that teach nothing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.sim, pytest.mark.ros]


def run(*words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=1150,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_demo_ends_with_a_report_and_knows_what_is_done(tmp_path):
    sizes = {
        **{"real-demos": 2, "sim-demos": 3, "stage1-steps": 20, "iterations": 1},
        **{"iteration-episodes": 8, "sim-episodes": 2, "trials": 2, "workers": 1},
    }
    options = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    words = (sys.executable, ROOT / "scripts/demo.py", "--out", tmp_path, *options)
    assert f"report: {tmp_path}/seed-0/report.html" in run(*words)
    page = (tmp_path / "seed-0/report.html").read_text()
    for policy in ("real-only", "sft-co-training", "rl-co"):
        assert policy in page
    assert run(*words).count("done before") >= 8


def test_a_study_ends_with_rows_table_and_figure(tmp_path):
    out = run(
        *(Path(sys.executable).with_name("rlco-train"), "study", "sim-init", "--seeds", 0),
        *("--out", tmp_path, "--tasks", "push_cube", "--real-demos", 1),
        *("--collected", 1, "--sim-demos", 2, "--stage1-steps", 10, "--batch", 16),
        *("--iterations", 1, "--episodes", 8, "--sim-episodes", 2, "--trials", 1),
        *("--workers", 1),
    )
    with (tmp_path / "sim-init/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 + 3), "two arms and three controls"
    assert {row["place"] for row in rows} == {"twin", "lab"}
    assert (tmp_path / "sim-init/figure.png").stat().st_size > 10_000
    assert "| with sim SFT |" in out
    assert "| control: RL-Co without RL |" in out
    lineage = json.loads(next(tmp_path.glob("seed-0/stage2-*/run.json")).read_text())
    assert lineage["tasks"] == ["push_cube"]
