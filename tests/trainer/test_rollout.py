"""Episodes in many scenes: order, limits, rewards, and log-probs that the update can trust."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.toy_scenes import GOAL_M, LocalPool, ToyBatch, make_conditions, make_job, make_policy
from rlco_trainer.episodes import EpisodeRequest, PolicyPackage, joined
from rlco_trainer.evaluate import evaluate, run_on_pool
from rlco_trainer.rollout import run_episodes


def make_request(n: int, **changes) -> EpisodeRequest:
    request = EpisodeRequest(
        policy=PolicyPackage.of(make_policy()),
        task="toy",
        conditions=make_conditions(n),
        instruction="go",
        max_steps=16,
        explore=True,
        seed=1,
    )
    return replace(request, **changes)


def test_every_condition_runs_once_and_answers_in_order():
    batch = ToyBatch(3)
    report = run_episodes(batch, make_request(11))
    assert [o.condition for o in report.outcomes] == [f"start-{i:03d}" for i in range(11)]
    assert sorted(batch.episodes) == [f"start-{i:03d}" for i in range(11)]
    assert all(o.success == (o.milestone == "success") for o in report.outcomes)


def test_the_time_limit_cuts_within_a_chunk():
    report = run_episodes(ToyBatch(4), make_request(8, max_steps=10))
    for outcome in report.outcomes:
        assert outcome.steps == 10 or (outcome.success and outcome.steps <= 10)
    assert any(outcome.steps == 10 for outcome in report.outcomes)


def test_reward_is_one_at_success_and_the_chunks_of_an_episode_are_together():
    report = run_episodes(ToyBatch(3), make_request(20))
    experience = report.experience
    assert experience is not None
    ends = np.cumsum(experience.lengths)
    assert ends[-1] == len(experience.reward) == len(experience.latent)
    for outcome, start, end in zip(report.outcomes, ends - experience.lengths, ends, strict=True):
        assert experience.reward[start:end].sum() == outcome.success
        assert experience.privileged[start, 0] == 0  # the first chunk starts at x = 0
        assert end - start == -(-outcome.steps // 4)
    np.testing.assert_array_equal(
        experience.terminated, [outcome.success for outcome in report.outcomes]
    )
    solved = experience.terminated
    assert solved.any()
    assert (experience.last_privileged[solved, 0] >= GOAL_M).all()


def test_log_probs_of_the_rollout_are_those_of_the_update():
    policy = make_policy()
    experience = run_episodes(ToyBatch(3), make_request(20)).experience
    assert experience is not None
    features = {name: torch.from_numpy(value) for name, value in experience.features.items()}
    log_prob, _ = policy.evaluate_actions(features, torch.from_numpy(experience.latent))
    ratio = (log_prob - torch.from_numpy(experience.log_prob)).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-4)


def test_shaping_telescopes_to_minus_the_first_potential():
    experience = run_episodes(ToyBatch(3), make_request(20, shaping=0.5, gamma=1.0)).experience
    assert experience is not None
    ends = np.cumsum(experience.lengths)
    for start, end, solved in zip(
        ends - experience.lengths, ends, experience.terminated, strict=True
    ):
        if solved:  # potential 0 at the start and at the end
            assert experience.reward[start:end].sum() == pytest.approx(1.0)


def test_without_exploration_nothing_is_kept_and_results_repeat():
    reports = [run_episodes(ToyBatch(2), make_request(4, explore=False)) for _ in range(2)]
    assert reports[0].experience is None
    assert reports[0].outcomes == reports[1].outcomes


def test_workers_share_the_conditions():
    pool = LocalPool([ToyBatch(2), ToyBatch(2), ToyBatch(2)])
    package = PolicyPackage.of(make_policy())
    (reports,) = run_on_pool(pool, package, [make_job(8)], max_steps=8, explore=True)
    assert [len(report.outcomes) for report in reports] == [3, 3, 2]
    everything = joined([r.experience for r in reports if r.experience is not None])
    assert len(everything.lengths) == 8
    assert len(everything.features["visual"]) == everything.lengths.sum()


def test_several_tasks_go_to_the_workers_at_once_and_come_back_apart():
    pool = LocalPool([ToyBatch(2), ToyBatch(2), ToyBatch(2)])
    package = PolicyPackage.of(make_policy())
    jobs = [make_job(5, "push"), make_job(2, "pick")]
    reports = run_on_pool(pool, package, jobs, max_steps=8, explore=True)
    assert pool.calls == 1
    assert [[len(r.outcomes) for r in part] for part in reports] == [[2, 2, 1], [1, 1]]
    assert [batch.tasks for batch in pool.batches] == [["push", "pick"], ["push", "pick"], ["push"]]
    results = evaluate(pool, package, jobs, max_steps=8)
    assert {task: result.episodes for task, result in results.items()} == {"push": 5, "pick": 2}


def test_what_followed_the_last_chunk_is_encoded_where_asked():
    experience = run_episodes(ToyBatch(3), make_request(7, keep_last_features=True)).experience
    assert experience is not None
    assert experience.last_features["visual"].shape[0] == 7
    x_m = experience.last_features["state"][:, 0]
    assert x_m[experience.terminated].min() > x_m[~experience.terminated].max()
    assert run_episodes(ToyBatch(3), make_request(2)).experience.last_features == {}


def test_evaluation_counts_and_bounds():
    package = PolicyPackage.of(make_policy())
    pool = LocalPool([ToyBatch(2), ToyBatch(2)])
    result = evaluate(pool, package, [make_job(5)], max_steps=8)["toy"]
    assert [o.condition for o in result.outcomes] == [c.name for c in make_conditions(5)]
    assert result.successes == sum(o.success for o in result.outcomes)
    assert result.low <= result.success_rate <= result.high


def test_a_package_is_the_same_policy():
    policy = make_policy()
    again = PolicyPackage.of(policy).unpack()
    images = {"third_person": np.full((1, 64, 64, 3), 9, np.uint8)}
    state = np.zeros((1, 10), np.float32)
    np.testing.assert_array_equal(
        policy.infer(images, state, ["go"]), again.infer(images, state, ["go"])
    )
    assert again.trunk_frozen
