import dataclasses

import numpy as np
import pytest
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import TwinError
from rlco_datasets.contract import ContractMismatchError, franka_third_person
from rlco_datasets.frames import apply_delta, delta_between
from rlco_trainer.twin import robot
from rlco_trainer.twin.batch import TwinBatch
from rlco_trainer.twin.scene import TwinScene

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def scene(bench, contract):
    return TwinScene(bench, contract, "pick_and_place", images="none")


def random_actions(seed, steps=15):
    rng = np.random.default_rng(seed)
    actions = rng.normal(0, [0.03, 0.03, 0.03, 0.05, 0.05, 0.1, 1], (steps, 7))
    actions[:, 2] -= 0.01
    return actions


def trajectory(scene, initial, actions):
    scene.reset(initial)
    rows = []
    for action in actions:
        scene.step(action)
        rows.append(np.concatenate([scene.state, scene.privileged(), scene.joint_positions_rad]))
    return np.array(rows)


def test_reset_puts_everything_where_the_condition_says(scene, start):
    initial = start("pick_and_place", 5)
    scene.reset(initial)
    assert np.allclose(scene.T_base_tcp[:3, 3], initial.tcp_position_m, atol=1e-4)
    assert np.allclose(scene.T_base_tcp[:3, :3], robot.TOOL_DOWN, atol=1e-4)
    assert scene.gripper_width_m == pytest.approx(0.08, abs=1e-4)
    for item in initial.objects:
        assert np.allclose(scene.object_poses()[item.name], item.T_base_object, atol=1e-6)
    assert scene.time_s == 0
    assert not scene.status().success
    assert scene.status().milestone == "start"


def test_what_a_scene_did_before_does_not_show(scene, bench, contract, start):
    initial, actions = start("pick_and_place", 1), random_actions(1)
    first = trajectory(scene, initial, actions)
    for seed in (2, 3):
        trajectory(scene, start("pick_and_place", seed), random_actions(seed))
    assert np.array_equal(first, trajectory(scene, initial, actions))
    fresh = TwinScene(bench, contract, "pick_and_place", images="none")
    assert np.array_equal(first, trajectory(fresh, initial, actions))


def test_rows_of_a_batch_do_not_touch_each_other(bench, contract, start):
    batch = TwinBatch(bench, contract, "push_cube", 2, images="none")
    alone = TwinScene(bench, contract, "push_cube", images="none")
    initials = [start("push_cube", 1), start("push_cube", 2)]
    batch.reset([0, 1], initials)
    alone.reset(initials[1])
    for mine, other in zip(random_actions(1, 8), random_actions(2, 8), strict=True):
        batch.step([0, 1], np.stack([other, mine]))
        alone.step(mine)
    assert np.array_equal(batch.privileged([1])[0], alone.privileged())
    assert batch.success([0, 1]).tolist() == [False, False]
    assert batch.rewards([1])[0] == np.float32(alone.reward())


def test_the_arm_follows_the_sum_of_the_deltas(scene, start):
    scene.reset(start("pick_and_place"))
    begin = scene.T_base_target.copy()
    delta = np.array([0.01, -0.015, 0.01, 0.02, -0.01, 0.1])
    expected = begin
    for _ in range(4):
        scene.step(np.append(delta, 1.0))
        expected = apply_delta(expected, delta)
    assert np.allclose(scene.T_base_target, expected, atol=1e-9)
    for _ in range(10):
        scene.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    off = delta_between(scene.T_base_tcp, expected)
    assert np.linalg.norm(off[:3]) < 0.002
    assert np.linalg.norm(off[3:]) < 0.01


def test_the_target_stays_in_the_workspace(scene, bench, start):
    scene.reset(start("pick_and_place"))
    for _ in range(20):
        scene.step(np.array([0.05, 0, -0.05, 0, 0, 0, 0.0]))
    assert scene.T_base_target[0, 3] == bench.workspace.high_m[0]
    assert scene.T_base_target[2, 3] == bench.workspace.low_m[2]


def test_a_slower_arm_lags(bench, shifted_bench, contract, start):
    at = []
    for twin in (bench, shifted_bench):
        scene = TwinScene(twin, contract, "pick_and_place", images="none")
        scene.reset(start("pick_and_place"))
        for _ in range(3):
            scene.step(np.array([0, 0, 0.04, 0, 0, 0, 1.0]))
        at.append(scene.T_base_tcp[2, 3])
    assert at[0] - at[1] > 0.02


@pytest.mark.parametrize("bad", [np.full(7, np.nan), np.zeros(6)])
def test_a_bad_action_is_refused_and_changes_nothing(scene, start, bad):
    scene.reset(start("pick_and_place"))
    before = scene.T_base_target.copy()
    with pytest.raises(ValueError, match="7 finite numbers"):
        scene.step(bad)
    assert np.array_equal(scene.T_base_target, before)
    assert scene.time_s == 0


def test_a_condition_of_another_task_is_refused(scene, start):
    with pytest.raises(ValueError, match=r"push_cube.*cube.*goal"):
        scene.reset(start("push_cube"))


def test_a_start_out_of_reach_is_refused_and_leaves_the_scene(scene, start):
    scene.reset(start("pick_and_place"))
    before = scene.privileged()
    far = dataclasses.replace(start("pick_and_place", 1), tcp_position_m=(2.0, 0.0, 0.3))
    with pytest.raises(ValueError, match="cannot reach"):
        scene.reset(far)
    assert np.array_equal(scene.privileged(), before)


def test_a_twin_of_another_contract_or_without_the_object_is_refused(bench, contract):
    with pytest.raises(ContractMismatchError, match="franka_third_person"):
        TwinScene(bench, franka_third_person(), "push_cube", images="none")
    bare = dataclasses.replace(
        bench,
        objects=bench.objects[:1],
        tasks=(dataclasses.replace(bench.tasks[0], placements=()),),
    )
    with pytest.raises(TwinError, match="'bowl'"):
        TwinScene(bare, contract, "pick_and_place", images="none")


def test_all_tasks_can_share_one_scene_and_only_words_tell_them_apart(bench, contract, start):
    """With everything placed in every task, two tasks' first states are the same to the bit."""
    cube, goal = bench.task("push_cube").placements
    (drawer,) = bench.task("open_drawer").placements
    bowl = dataclasses.replace(bench.task("pick_and_place").placements[1], x_m=(0.4, 0.4))
    far = dataclasses.replace(goal, x_m=(0.6, 0.6), y_m=(-0.2, -0.2))
    everything = (cube, bowl, far, drawer)
    tasks = tuple(
        dataclasses.replace(task, placements=everything, min_distance_m=0.0) for task in bench.tasks
    )
    shared = dataclasses.replace(bench, tasks=tasks)
    initial = sample(shared, "push_cube", np.random.default_rng(1), "c")
    seen = []
    for task in tasks:
        scene = TwinScene(shared, contract, task.name, images="none")
        scene.reset(dataclasses.replace(initial, task=task.name))
        poses = scene.object_poses()
        seen.append(np.stack([poses[name] for name in sorted(poses)]))
        assert sorted(poses) == ["bowl", "cube", "drawer", "drawer_handle", "goal"]
        assert scene.privileged().shape == (40,)
    assert all(np.array_equal(seen[0], other) for other in seen)


def test_inverse_kinematics_reaches_poses_of_the_workspace(bench):
    kinematics = robot.Kinematics()
    rng = np.random.default_rng(0)
    for _ in range(20):
        joints = robot.HOME_RAD + rng.uniform(-0.4, 0.4, 7)
        pose = kinematics.forward(joints)
        found = kinematics.inverse(pose, robot.HOME_RAD, iterations=50)
        assert np.abs(kinematics.forward(found) - pose).max() < 1e-4
