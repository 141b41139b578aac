"""The update: beta reaches the parameters, the first ratio is one, and a toy task is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.toy_scenes import LocalPool, ToyBatch, make_job, make_policy
from hypothesis import given
from hypothesis import strategies as st
from rlco_trainer.advantages import group_advantages
from rlco_trainer.critic import Critic, fit
from rlco_trainer.demonstrated import Demonstrated
from rlco_trainer.episodes import Experience, PolicyPackage, joined
from rlco_trainer.evaluate import run_on_pool
from rlco_trainer.judging import Judged, chunks_of, judge, judge_by_group
from rlco_trainer.losses import value_regression
from rlco_trainer.policies.compact import CompactPolicy
from rlco_trainer.policies.interface import Observation
from rlco_trainer.ppo import Chunks, PpoConfig, adapted_beta, gradient_norms, update_policy

CONFIG = PpoConfig(epochs=4, minibatch=64, critic_hidden=16, sft_minibatch=16)


def collect(policy: CompactPolicy, seed: int, episodes: int = 64):
    package = PolicyPackage.of(policy)
    (reports,) = run_on_pool(
        LocalPool([ToyBatch(16)]),
        package,
        [make_job(episodes)],
        max_steps=8,
        explore=True,
        seed=seed,
    )
    return joined([r.experience for r in reports if r.experience is not None])


def judged(experience: Experience, critic: Critic) -> Judged:
    states = torch.from_numpy(experience.privileged)
    return judge(experience, critic, states, torch.from_numpy(experience.last_privileged), CONFIG)


def make_chunks(policy: CompactPolicy, seed: int = 0) -> Chunks:
    torch.manual_seed(0)
    experience = collect(policy, seed)
    advantage = judged(experience, Critic(2, 16)).advantage
    return chunks_of([(experience, advantage)], standardise=True, device="cpu")


def make_demonstrations(policy: CompactPolicy, weight: float) -> Demonstrated:
    rng = np.random.default_rng(0)
    observation = Observation.from_numpy(
        {"third_person": rng.integers(0, 255, (32, 64, 64, 3), dtype=np.uint8)},
        rng.normal(size=(32, 10)).astype(np.float32),
        ["go"] * 32,
    )
    actions = torch.zeros(32, 4, 7)
    actions[..., 1] = 0.02
    return Demonstrated(
        kind="real",
        weight=weight,
        features=policy.encode(observation),
        actions=actions,
        mask=torch.ones(32, 4, dtype=torch.bool),
    )


def updated(weight: float) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    policy = make_policy()
    chunks = make_chunks(policy)
    demos = make_demonstrations(policy, weight)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    measured = gradient_norms(policy, chunks, [demos], CONFIG, generator)
    measured |= update_policy(policy, optimizer, chunks, [demos], CONFIG, generator)
    return {k: v.clone() for k, v in policy.state_dict().items()}, measured


def test_beta_reaches_the_parameters_by_gradient_and_after_a_step():
    without, measured_without = updated(0.0)
    with_beta, measured = updated(0.5)
    assert measured_without["gradient/beta_sft"] == 0
    assert measured["gradient/beta_sft"] > 0
    assert measured["gradient/rl"] == pytest.approx(measured_without["gradient/rl"])
    assert measured["gradient/beta_sft_over_rl"] == pytest.approx(
        measured["gradient/beta_sft"] / measured["gradient/rl"]
    )
    assert not torch.equal(without["head.4.bias"], with_beta["head.4.bias"])


@pytest.mark.parametrize("accumulate", [3, 1000])
def test_accumulated_passes_make_one_large_step(accumulate):
    """Also with samples that end early, and with more passes than samples."""
    ends = []
    for passes in (1, accumulate):
        policy = make_policy()
        chunks, demos = make_chunks(policy), make_demonstrations(policy, 0.5)
        demos.mask[::3, 1:] = False
        optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.01)
        config = replace(CONFIG, epochs=1, accumulate=passes)
        generator = torch.Generator().manual_seed(0)
        measured = update_policy(policy, optimizer, chunks, [demos], config, generator)
        ends.append((policy.state_dict(), measured))
    (once, measured_once), (spread, measured_spread) = ends
    assert measured_spread == pytest.approx(measured_once, rel=1e-3, abs=1e-5)
    for name, tensor in once.items():
        torch.testing.assert_close(spread[name], tensor, rtol=1e-4, atol=1e-6)


def test_beta_pulls_towards_the_demonstrations():
    policy = make_policy()
    demos = make_demonstrations(policy, 5.0)
    before = float(demos.loss(policy, torch.arange(32))["loss"].detach())
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    patient = replace(CONFIG, kl_stop=1e6, epochs=20)
    update_policy(policy, optimizer, make_chunks(policy), [demos], patient, generator)
    assert float(demos.loss(policy, torch.arange(32))["loss"].detach()) < 0.9 * before


def test_the_gradient_is_linear_in_beta():
    _, once = updated(0.25)
    _, twice = updated(0.5)
    assert twice["gradient/beta_sft"] == pytest.approx(2 * once["gradient/beta_sft"], rel=1e-4)


def test_before_the_first_step_the_ratio_is_one():
    _, measured = updated(0.5)
    assert measured["ppo/first_ratio_deviation"] < 1e-4


def test_without_the_rl_term_only_demonstrations_teach():
    policy = make_policy()
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-3)
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    config = replace(CONFIG, rl_weight=0.0)
    generator = torch.Generator().manual_seed(0)
    update_policy(policy, optimizer, make_chunks(policy), [], config, generator)
    assert all(torch.equal(v, before[k]) for k, v in policy.state_dict().items())
    demos = make_demonstrations(policy, 0.5)
    update_policy(policy, optimizer, make_chunks(policy), [demos], config, generator)
    assert not torch.equal(policy.state_dict()["head.4.bias"], before["head.4.bias"])


def test_a_large_divergence_ends_the_update():
    policy = make_policy()
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    config = PpoConfig(epochs=50, minibatch=64, kl_stop=0.01)
    generator = torch.Generator().manual_seed(0)
    measured = update_policy(policy, optimizer, make_chunks(policy), [], config, generator)
    assert measured["ppo/stopped_by_kl"] == 1
    assert measured["ppo/steps"] < 10


def test_the_critic_learns_the_returns():
    torch.manual_seed(0)
    privileged = torch.randn(256, 2) * torch.tensor([0.01, 5.0])
    returns = torch.sin(privileged[:, 0] * 100)
    critic = Critic(2, 32)
    critic.calibrate(privileged)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    given = {"minibatch": 64, "generator": generator}
    first = fit(critic, optimizer, privileged, returns, epochs=1, **given)
    assert fit(critic, optimizer, privileged, returns, epochs=30, **given) < 0.2 * first


def test_ppo_learns_a_two_chunk_task():
    policy, config = make_policy(), PpoConfig(epochs=4, minibatch=64, learning_rate=1e-3)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-3)
    critic = Critic(2, 16)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    rates = []
    for iteration in range(10):
        experience = collect(policy, seed=iteration)
        rates.append(float(experience.terminated.mean()))
        generator = torch.Generator().manual_seed(iteration)
        found = judged(experience, critic)
        chunks = chunks_of([(experience, found.advantage)], standardise=True, device="cpu")
        given = {"epochs": 2, "minibatch": 64, "generator": generator}
        fit(critic, critic_optimizer, found.states, found.returns, **given)
        update_policy(policy, optimizer, chunks, [], config, generator)
    assert rates[0] < 0.4
    assert rates[-1] > 0.8


def test_what_follows_the_time_limit_is_never_worth_more_than_success():
    policy = make_policy()
    experience = collect(policy, seed=0)
    wild = Critic(2, 16)
    with torch.no_grad():
        wild.layers[-1].bias.fill_(50.0)
    found = judged(experience, wild)
    cut = ~np.repeat(experience.terminated, experience.lengths)
    assert cut.any()
    last = np.cumsum(experience.lengths)[~experience.terminated] - 1
    assert float(found.returns[last].max()) <= CONFIG.gamma * 1.0 + 1e-6


def test_groups_learn_the_same_task_without_a_critic():
    policy, config = make_policy(), PpoConfig(epochs=4, minibatch=64, learning_rate=1e-3)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-3)
    rates = []
    for iteration in range(10):
        experience = collect(policy, seed=iteration)
        rates.append(float(experience.terminated.mean()))
        starts = [f"start-{i // 16}" for i in range(64)]
        advantage = judge_by_group(experience, starts)
        chunks = chunks_of([(experience, advantage)], standardise=False, device="cpu")
        generator = torch.Generator().manual_seed(iteration)
        update_policy(policy, optimizer, chunks, [], config, generator)
    assert rates[0] < 0.4
    assert rates[-1] > 0.8


def test_a_groups_advantages_are_its_standardised_returns():
    found = group_advantages(np.array([1, 0, 0, 1, 1, 0], np.float32), list("aabbab"))
    np.testing.assert_allclose(
        found, [0.7071, -1.4142, -0.7071, 1.4142, 0.7071, -0.7071], rtol=1e-3
    )
    assert (group_advantages(np.ones(4, np.float32), list("aabb")) == 0).all()
    with pytest.raises(ValueError, match="2 returns for 1"):
        group_advantages(np.ones(2, np.float32), ["a"])


@given(st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(1e-4, 100), st.floats(1e-4, 100))
def test_adapted_beta_settles_where_the_ratio_holds(beta, target, rl, sft):
    measured = {"gradient/rl": rl, "gradient/real_sft": sft}
    for _ in range(60):
        beta = adapted_beta(beta, target, measured)
    assert beta * sft / rl == pytest.approx(target, rel=1e-3)


def test_a_silent_gradient_leaves_beta_as_it_is():
    assert adapted_beta(0.5, 0.1, {"gradient/rl": 0.0, "gradient/real_sft": 1.0}) == 0.5


def test_the_value_clip_takes_the_larger_error():
    predicted = torch.tensor([0.9, 0.1])
    returns, earlier = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    clipped = value_regression(predicted, returns, earlier, 0.2)
    assert float(clipped) == pytest.approx((0.8**2 + 0.1**2) / 2)
    assert float(value_regression(predicted, returns)) == pytest.approx((0.1**2 + 0.1**2) / 2)
    with pytest.raises(ValueError, match="earlier"):
        value_regression(predicted, returns, None, 0.2)
