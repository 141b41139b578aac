from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.studies import make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_datasets import spec
from rlco_evaluation.schedule import schedule
from rlco_evaluation.study import Study


def test_a_study_survives_yaml_with_its_id(study, tmp_path):
    spec.save(study, tmp_path / "study.yaml")
    loaded = spec.load(Study, tmp_path / "study.yaml")
    assert loaded == study
    assert loaded.id == study.id
    assert replace(study, order_seed=8).id != study.id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": ()}, "at least one code"),
        ({"codes": ("A", "A")}, "codes must be distinct"),
        ({"conditions": ()}, "at least one code and one initial condition"),
        ({"comparisons": (("A", "Z"),)}, "'Z'"),
        ({"comparisons": (("A", "B"), ("B", "A"))}, "comparisons must be distinct"),
        ({"task": "push_cube"}, "is for task 'pick_and_place'"),
        ({"time_limit_s": 0.0}, "time_limit_s must be positive"),
        ({"hold_s": 21.0}, "hold_s"),
        ({"alpha": 0.7}, "alpha"),
        ({"milestones": ("a", "a")}, "milestones"),
        ({"instruction": " "}, "instruction"),
        ({"version": 2}, "version 2"),
    ],
)
def test_an_impossible_plan_is_refused(study, change, message):
    with pytest.raises(ValueError, match=message):
        replace(study, **change)


@settings(deadline=None, max_examples=50)
@given(
    conditions=st.integers(1, 9),
    codes=st.integers(1, 5),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_every_condition_meets_every_code_equally_often(conditions, codes, repeats, seed):
    study = replace(
        make_study(conditions, "AB", repeats),
        codes=tuple("ABCDE"[:codes]),
        comparisons=(),
        order_seed=seed,
    )
    trials = schedule(study)
    assert [trial.index for trial in trials] == list(range(study.trial_count))
    assert schedule(study) == trials
    pairs = [(trial.condition, trial.code) for trial in trials]
    assert all(pairs.count(pair) == repeats for pair in set(pairs))
    assert len(set(pairs)) == conditions * codes
    for block in range(conditions * repeats):
        members = trials[block * codes : (block + 1) * codes]
        assert {trial.block for trial in members} == {block}
        assert {trial.code for trial in members} == set(study.codes)
        assert len({trial.condition for trial in members}) == 1
    for first in range(0, conditions * repeats - codes + 1, codes):
        for place in range(codes):
            group = {trials[(first + i) * codes + place].code for i in range(codes)}
            assert group == set(study.codes), "every code once at every place of the block"


def test_the_order_follows_the_seed_and_is_fixed_for_ever(study):
    first = ["c01 B", "c01 C", "c01 A", "c02 C", "c02 A", "c02 B"]
    assert [f"{trial.condition} {trial.code}" for trial in schedule(study)][:6] == first
    others = {tuple(schedule(replace(study, order_seed=seed))) for seed in range(20)}
    assert len(others) > 15
