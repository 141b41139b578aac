"""Weights & Biases is asked for or not there at all; a stand-in speaks the calls that are used."""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import replace

import pytest
from fakes.episodes import make_store
from rlco_datasets.contract import franka_compact
from rlco_trainer import cli
from rlco_trainer.run_folder import RunError, read_metrics
from rlco_trainer.stage1 import Stage1Config, run_stage1
from rlco_trainer.tracking import TrackingOptions


class FakeRun:
    def __init__(self, settings):
        self.settings, self.rows, self.finished = settings, [], False

    def log(self, scalars, *, step):
        assert not self.finished
        self.rows.append({"step": step, **scalars})

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the library; `runs` are those that were started."""
    module = types.ModuleType("wandb")
    module.Error = type("Error", (Exception,), {})
    module.runs = []

    def init(*, project, id, name, job_type, config, dir, mode, resume):
        if project == "forbidden":
            raise module.Error("permission denied")
        settings = {"project": project, "id": id, "name": name, "mode": mode, "resume": resume}
        module.runs.append(FakeRun(settings | {"job": job_type, "config": config, "dir": dir}))
        return module.runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def config(tmp_path):
    make_store(tmp_path / "real", franka_compact(), (12, 9))
    return Stage1Config(
        real=(str(tmp_path / "real"),),
        alpha=0.0,
        steps=6,
        batch=4,
        threads=1,
        log_every=2,
        state_every=2,
    )


def test_what_the_run_folder_has_goes_to_the_project(wandb, config, tmp_path):
    options = TrackingOptions(wandb="bench", wandb_mode="offline")
    run_stage1(config, tmp_path / "run", options)
    (run,) = wandb.runs
    assert run.finished
    assert [row["step"] for row in run.rows] == [2, 4, 6]
    for sent, kept in zip(run.rows, read_metrics(tmp_path / "run"), strict=True):
        assert sent == {name: value for name, value in kept.items() if name != "wall_s"}
    assert run.settings["mode"] == "offline"
    assert run.settings["job"] == "stage1"
    assert run.settings["config"]["steps"] == 6
    assert run.settings["dir"] == str(tmp_path / "run")


def test_a_run_that_goes_on_is_the_same_run(wandb, config, tmp_path):
    options = TrackingOptions(wandb="bench")
    for _ in range(2):
        run_stage1(config, tmp_path / "run", options)
    first, second = wandb.runs
    assert first.settings["id"] == second.settings["id"]
    assert second.settings["resume"] == "allow"
    run_stage1(config, tmp_path / "other", options)
    assert wandb.runs[2].settings["id"] != first.settings["id"]


def test_nothing_is_imported_unless_asked_for(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    run_stage1(config, tmp_path / "run")
    with pytest.raises(RunError, match=r"rlco-trainer\[wandb\]"):
        run_stage1(config, tmp_path / "other", TrackingOptions(wandb="bench"))
    assert not (tmp_path / "other").exists(), "it is said before anything is done"


def test_a_refusal_is_one_line_with_a_remedy(wandb, config, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(
            [
                *("stage1", "--real", config.real[0], "--alpha", "0", "--steps", "2"),
                *("--out", str(tmp_path / "run"), "--tracking.wandb", "forbidden"),
            ]
        )
    assert raised.value.code == 2
    assert "permission denied" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_the_real_library_keeps_an_offline_run(config, tmp_path):
    options = TrackingOptions(wandb="bench", wandb_mode="offline")
    run_stage1(replace(config, steps=2), tmp_path / "run", options)
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
