from __future__ import annotations

from pathlib import Path

import pytest
from rlco_datasets.initial_condition import InitialCondition, ObjectPose
from rlco_evaluation.study import Study


@pytest.fixture
def study() -> Study:
    return make_study()


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def make_study(conditions: int = 4, codes: str = "ABC", repeats: int = 1) -> Study:
    return Study(
        name="fake",
        task="pick_and_place",
        instruction="put the cube on the plate",
        contract_id="0123456789abcdef",
        codes=tuple(codes),
        conditions=tuple(
            InitialCondition(
                name=f"c{i:02d}",
                task="pick_and_place",
                objects=(ObjectPose(name="cube", position_m=(0.5, 0.01 * i, 0.02)),),
                tcp_position_m=(0.4, 0.0, 0.3),
            )
            for i in range(conditions)
        ),
        success_criterion="cube on the plate, gripper open",
        time_limit_s=20.0,
        hold_s=0.5,
        order_seed=7,
        comparisons=(("A", "B"),),
        trials_per_condition=repeats,
        milestones=("reached", "grasped"),
    )


@pytest.fixture(name="make_study")
def make_study_fixture():
    return make_study
