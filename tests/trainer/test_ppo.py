"""The update: beta reaches the parameters, the first ratio is one, and a toy task is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.toy_scenes import LocalPool, ToyBatch, make_conditions, make_policy
from rlco_trainer.critic import Critic, fit
from rlco_trainer.demonstrated import Demonstrated
from rlco_trainer.episodes import PolicyPackage, joined
from rlco_trainer.evaluate import run_on_pool
from rlco_trainer.policies.compact import CompactPolicy
from rlco_trainer.policies.interface import Observation
from rlco_trainer.ppo import Chunks, PpoConfig, prepare, update_policy

CONFIG = PpoConfig(epochs=4, minibatch=64, critic_hidden=16, sft_minibatch=16)


def collect(policy: CompactPolicy, seed: int, episodes: int = 64):
    reports = run_on_pool(
        LocalPool([ToyBatch(16)]),
        PolicyPackage.of(policy),
        make_conditions(episodes),
        instruction="go",
        max_steps=8,
        explore=True,
        seed=seed,
    )
    return joined([r.experience for r in reports if r.experience is not None])


def make_chunks(policy: CompactPolicy, seed: int = 0) -> Chunks:
    torch.manual_seed(0)
    return prepare(collect(policy, seed), Critic(2, 16), CONFIG)


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
    measured = update_policy(policy, optimizer, chunks, [demos], CONFIG, generator)
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
        chunks = prepare(experience, critic, config)
        fit(
            critic,
            critic_optimizer,
            chunks.privileged,
            chunks.returns,
            epochs=2,
            minibatch=64,
            generator=generator,
        )
        update_policy(policy, optimizer, chunks, [], config, generator)
    assert rates[0] < 0.4
    assert rates[-1] > 0.8


def test_what_follows_the_time_limit_is_never_worth_more_than_success():
    policy = make_policy()
    experience = collect(policy, seed=0)
    wild = Critic(2, 16)
    with torch.no_grad():
        wild.layers[-1].bias.fill_(50.0)
    chunks = prepare(experience, wild, CONFIG)
    cut = ~np.repeat(experience.terminated, experience.lengths)
    assert cut.any()
    last = np.cumsum(experience.lengths)[~experience.terminated] - 1
    assert float(chunks.returns[last].max()) <= CONFIG.gamma * 1.0 + 1e-6
