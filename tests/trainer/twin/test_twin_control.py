import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rlco_calibration.parts import ArmController, Workspace
from rlco_datasets.contract import franka_compact
from rlco_trainer.twin.control import TargetFollower, clip_action, clip_to_workspace

CONTRACT = franka_compact()
FINITE = st.floats(-1e3, 1e3)


def pose_at(x):
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


@given(hnp.arrays(float, 7, elements=FINITE))
def test_clipping_keeps_directions_and_limits(action):
    clipped = clip_action(action, CONTRACT)
    assert np.linalg.norm(clipped[:3]) <= CONTRACT.max_translation_m + 1e-12
    assert np.linalg.norm(clipped[3:6]) <= CONTRACT.max_rotation_rad + 1e-12
    assert 0 <= clipped[6] <= 1
    assert np.allclose(np.cross(clipped[:3], action[:3]), 0, atol=1e-6)
    assert np.array_equal(clip_action(clipped, CONTRACT), clipped) or np.allclose(
        clip_action(clipped, CONTRACT), clipped
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_refused_with_its_values(bad):
    action = np.zeros(7)
    action[2] = bad
    with pytest.raises(ValueError, match=rf"7 finite numbers.*{bad}"):
        clip_action(action, CONTRACT)


def test_a_target_outside_the_workspace_moves_to_its_nearest_face():
    box = Workspace(low_m=(0, 0, 0), high_m=(1, 1, 1))
    target = np.eye(4)
    target[:3, 3] = (2.0, 0.5, -1.0)
    assert clip_to_workspace(target, box)[:3, 3].tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(("delay_s", "substeps"), [(0.0, 0), (0.1, 5), (0.11, 6), (0.25, 12)])
def test_a_command_comes_into_force_after_the_delay(delay_s, substeps):
    follower = TargetFollower(ArmController(delay_s=delay_s), 0.02)
    follower.reset(np.eye(4))
    follower.command(pose_at(0.05), 0.5)
    seen = [follower.tick() for _ in range(substeps + 1)]
    assert all(item is None for item in seen[:-1])
    target, gripper = seen[-1]
    assert target[0, 3] == 0.05
    assert gripper == 0.5


def test_the_gain_takes_its_share_of_the_way_each_period_and_arrives():
    follower = TargetFollower(dataclasses.replace(ArmController(), gain=0.8), 0.1)
    follower.reset(np.eye(4))
    reached = []
    for _ in range(12):
        follower.command(pose_at(1.0), 1.0)
        reached.append(follower.tick()[0][0, 3])
    assert np.allclose(reached, 1 - 0.2 ** np.arange(1, 13))
