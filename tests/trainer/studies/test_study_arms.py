"""Arms that begin alike share their runs; every study is a well-formed list of arms."""

from __future__ import annotations

from typing import get_args

import pytest
from rlco_trainer.studies.arms import Arm, Reinforce, StudyName, Usual, study

NAMES = get_args(StudyName)


def make_study(name):
    return study(name, Usual(real_demos=8))


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_runs_are_unique_and_comparisons_exist(name):
    found = make_study(name)
    labels = [arm.label for arm in found.policies]
    assert len(set(labels)) == len(labels)
    assert len({arm.folder for arm in found.policies}) == len(labels)
    assert {label for pair in found.comparisons for label in pair} <= set(labels)
    if found.axis:
        assert all(arm.x is not None and arm.series for arm in found.arms)


def test_studies_share_what_is_the_same():
    runs = {name: {arm.folder for arm in make_study(name).arms} for name in NAMES}
    rl_co = "stage2-beta0.5-of-stage1-alpha0.6-real8"
    assert all(
        rl_co in runs[name] for name in ("main-table", "sim-init", "beta", "real-data-ablation")
    )
    assert "stage1-alpha0.6-real8" in runs["main-table"] & runs["data-efficiency"] & runs["alpha"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "calibration"])
def test_every_study_says_where_a_gain_comes_from(name):
    found = make_study(name)
    runs = {arm.folder for arm in found.policies}
    assert {
        "stage2-beta0-of-stage1-alpha1",
        "stage2-beta0-of-stage1-alpha0.6-real8",
        "stage2-beta0.5-no-rl-of-stage1-alpha0.6-real8",
    } <= runs
    assert not {arm.folder for arm in found.arms} & {arm.folder for arm in found.controls}
    alone = study(name, Usual(real_demos=8, controls=False))
    assert alone.controls == ()
    if name == "main-table":
        assert [arm.label for arm in alone.arms] == ["real only", "SFT co-training", "RL-Co"]


def test_a_run_is_named_by_the_data_it_sees():
    sim_only = Arm(label="a", alpha=1.0, real_demos=8)
    assert sim_only.folder == "stage1-alpha1"
    regularised = Arm(label="b", alpha=1.0, real_demos=8, stage2=Reinforce(beta=0.5))
    other = Arm(label="c", alpha=1.0, real_demos=4, stage2=Reinforce(beta=0.5))
    assert regularised.folder != other.folder
    blind = [Arm(label="d", alpha=1.0, real_demos=n, stage2=Reinforce(beta=0.0)) for n in (4, 8)]
    assert blind[0].folder == blind[1].folder


def test_an_unknown_study_is_refused():
    with pytest.raises(ValueError, match="no study 'gamma'"):
        study("gamma", Usual(real_demos=8))  # type: ignore[arg-type]
