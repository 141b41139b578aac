"""Wrong and different twins: as far off as stated, the same for the same seed, and usable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_calibration.twin import TwinError, demo_bench, load_twin
from rlco_datasets import spec
from rlco_trainer.studies.variations import (
    BOX_M,
    SHADE,
    SHIFT_M,
    UNLIKE,
    uncalibrated,
    unseen_objects,
    unseen_starts,
)
from scipy.spatial.transform import Rotation

TWIN = load_twin(demo_bench())
SEEDS = st.integers(0, 100_000)


@given(SEEDS)
def test_an_uncalibrated_twin_is_5_cm_and_8_degrees_off_and_has_wrong_gains(seed):
    wrong = uncalibrated(TWIN, seed)
    here, there = TWIN.cameras[0].T_base_camera, wrong.cameras[0].T_base_camera
    assert np.linalg.norm(there[:3, 3] - here[:3, 3]) == pytest.approx(SHIFT_M, abs=1e-9)
    turn = Rotation.from_matrix(there[:3, :3] @ here[:3, :3].T).magnitude()
    assert np.degrees(turn) == pytest.approx(8.0, abs=1e-3)
    assert 0.7 <= wrong.arm.gain / TWIN.arm.gain <= 0.85
    for name in ("stiffness", "damping"):
        ratio = getattr(wrong.arm, name) / getattr(TWIN.arm, name)
        assert 1.4 <= max(ratio, 1 / ratio) <= 1.8
    assert 0.04 <= wrong.arm.delay_s - TWIN.arm.delay_s <= 0.08
    assert wrong.table.friction != TWIN.table.friction
    assert wrong.tasks == TWIN.tasks
    assert wrong.contract_id == TWIN.contract_id
    assert not wrong.hidden
    assert wrong == uncalibrated(TWIN, seed)
    assert wrong.id != uncalibrated(TWIN, seed + 1).id


@given(SEEDS)
def test_unseen_objects_differ_and_fit_hand_and_bowl(seed):
    other = unseen_objects(TWIN, seed)
    assert other == unseen_objects(TWIN, seed)
    box, bowl = other.object_model("cube"), other.object_model("bowl")
    for new, old in zip(box.size_m, TWIN.object_model("cube").size_m, strict=True):
        assert BOX_M[0] <= new <= BOX_M[1]
        assert abs(new - old) >= UNLIKE * old - 1e-9
    inner = bowl.size_m[0] - 2 * bowl.size_m[1]
    assert np.hypot(*box.size_m[:2]) < inner
    assert bowl.size_m[1] + box.size_m[2] / 2 < bowl.size_m[2] - 0.003, "its middle is in the bowl"
    assert other.object_model("goal") == TWIN.object_model("goal")
    for name in ("cube", "bowl"):
        shift = np.abs(np.subtract(other.object_model(name).colour, TWIN.object_model(name).colour))
        assert shift.max() <= SHADE + 1e-4
    red, green, blue = box.colour
    assert red > 2 * max(green, blue), "the red cube must stay red"
    assert other.drawers[0].handle_height_m != TWIN.drawers[0].handle_height_m
    assert other.drawers[0].travel_m == TWIN.drawers[0].travel_m
    assert other.tasks == TWIN.tasks
    assert spec.from_plain(type(other), spec.to_plain(other), where="test") == other


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from([task.name for task in TWIN.tasks]))
def test_unseen_starts_lie_beyond_the_trained_ranges_but_not_far(seed, task):
    starts = unseen_starts(TWIN, task, 5, seed).conditions
    assert starts == unseen_starts(TWIN, task, 5, seed).conditions
    states = TWIN.task(task)
    for start in starts:
        beyond = []
        for place, pose in zip(states.placements, start.objects, strict=True):
            for value, (low, high) in zip(pose.position_m, (place.x_m, place.y_m), strict=False):
                width = high - low
                assert low - 0.2 * width - 1e-9 <= value <= high + 0.2 * width + 1e-9
                beyond.append(not low <= value <= high)
        assert any(beyond)
        low, high = states.drawer_open
        assert low <= start.drawer_open <= high
    assert len({start.name for start in starts}) == 5


def test_an_unknown_task_has_no_unseen_starts():
    with pytest.raises(TwinError, match="juggle"):
        unseen_starts(TWIN, "juggle", 2, 0)
