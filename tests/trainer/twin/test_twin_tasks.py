import numpy as np
import pytest
from rlco_calibration.initial_states import sample
from rlco_trainer.twin.expert import NO_NOISE, Expert, ExpertNoise
from rlco_trainer.twin.scene import TwinScene
from rlco_trainer.twin.tasks import TASKS, task_named

pytestmark = pytest.mark.sim


def solve(scene, seed, noise=NO_NOISE, steps=70):
    rng = np.random.default_rng([11, seed])
    scene.reset(sample(scene.twin, scene.task.name, rng, f"c{seed}"))
    expert = Expert(scene.task.name, rng, noise)
    for _ in range(steps):
        scene.step(expert.act(scene).executed)
        if scene.status().success:
            break
    return scene.status().success


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("noise", [NO_NOISE, ExpertNoise()], ids=["clean", "noisy"])
def test_the_expert_solves_the_task_in_both_benches(bench, shifted_bench, contract, task, noise):
    for twin in (bench, shifted_bench):
        scene = TwinScene(twin, contract, task, images="none")
        assert sum(solve(scene, seed, noise) for seed in range(5)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_expert_solves_95_of_100_starts_of_the_training_twin(bench, contract, task):
    scene = TwinScene(bench, contract, task, images="none")
    assert sum(solve(scene, seed) for seed in range(100)) >= 95


def test_success_has_to_be_held(bench, contract):
    scene = TwinScene(bench, contract, "push_cube", images="none")
    assert solve(scene, 0)
    status = scene.status()
    assert status.milestone == status.milestones[-1] == "success"
    assert status.held_s == pytest.approx(scene.task.hold_s)


def test_a_cube_held_over_the_bowl_is_not_a_success_and_a_dropped_one_is(bench, contract):
    scene = TwinScene(bench, contract, "pick_and_place", images="none")
    scene.reset(sample(bench, "pick_and_place", np.random.default_rng(1), "c"))
    expert = Expert("pick_and_place", np.random.default_rng(1))
    while scene.status().milestone != "over_bowl":
        scene.step(expert.act(scene).executed)
    for _ in range(10):
        scene.step(np.array([0, 0, 0, 0, 0, 0, 0.0]))
    assert not scene.status().success
    held = scene.reward()
    for _ in range(60):
        scene.step(expert.act(scene).executed)
        if scene.status().success:
            break
    assert scene.status().success
    assert 0 < held < scene.reward() == 1.0


@pytest.mark.parametrize("task", sorted(TASKS))
def test_rewards_rise_along_the_experts_way(bench, contract, task):
    scene = TwinScene(bench, contract, task, images="none")
    rng = np.random.default_rng(4)
    scene.reset(sample(bench, task, rng, "c"))
    expert, rewards = Expert(task, rng), []
    while not scene.status().success:
        scene.step(expert.act(scene).executed)
        rewards.append(scene.reward())
        assert 0 <= rewards[-1] <= 1
        assert len(rewards) < 80
    third = len(rewards) // 3
    assert (
        np.mean(rewards[:third]) < np.mean(rewards[third : 2 * third]) < np.mean(rewards[-third:])
    )


def test_the_label_is_the_way_to_go_from_the_noisy_target(bench, contract):
    scene = TwinScene(bench, contract, "pick_and_place", images="none")
    rng = np.random.default_rng(0)
    scene.reset(sample(bench, "pick_and_place", rng, "c"))
    expert = Expert("pick_and_place", rng, ExpertNoise(translation=0.5))
    action = expert.act(scene)
    assert not np.array_equal(action.executed, action.clean)
    cube = scene.object_poses()["cube"][:3, 3]
    goal = cube + np.array([0, 0, 0.09]) - scene.T_base_target[:3, 3]
    cosine = goal @ action.clean[:3] / np.linalg.norm(goal) / np.linalg.norm(action.clean[:3])
    assert cosine > 0.999


def test_an_unknown_task_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"juggle.*pick_and_place.*push_cube"):
        task_named("juggle")
