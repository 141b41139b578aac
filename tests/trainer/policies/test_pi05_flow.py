"""Flow sampling and its log-probabilities, against closed forms and by Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rlco_trainer.policies.pi05.config import FlowExploration
from rlco_trainer.policies.pi05.exploration import Explorer, gaussian_entropy
from rlco_trainer.policies.pi05.flow import (
    guided,
    prefix_weights,
    sample_ode,
    sample_times,
    sde_step,
    time_at,
    visited_times,
)
from scipy import stats

MEAN, STD = 0.4, 0.3
"""The toy data: a Gaussian, whose flow is known."""


def gaussian_velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return E[noise - action | x_t = x] where actions are N(MEAN, STD^2) and noise N(0, 1)."""
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    variance = t**2 + (1 - t) ** 2 * STD**2
    centred = x - (1 - t) * MEAN
    noise = t * centred / variance
    action = MEAN + (1 - t) * STD**2 * centred / variance
    return noise - action


def linear_flow(gain: float):
    """Return a flow v = gain * x whose chain is Gaussian in closed form."""
    return lambda x, _t: (gain * x, torch.zeros(*x.shape[:2], 4))


def explorer(executed: int = 1, steps: int = 3, active: int = 1, **changes) -> Explorer:
    moves = torch.arange(7) < active
    config = FlowExploration(**{"std_low": 0.1, "std_high": 0.1} | changes)
    return Explorer(config, 4, moves, executed_steps=executed, steps=steps)


@pytest.mark.parametrize("steps", [1, 4])
def test_visited_times_are_those_of_the_denoising_steps(steps):
    torch.manual_seed(0)
    drawn = visited_times(200, steps)
    assert sorted(set(drawn.tolist())) == sorted(time_at(step, steps) for step in range(steps))


def test_the_ode_carries_noise_to_the_data():
    noise = torch.tensor([-1.5, 0.0, 0.7, 2.0]).reshape(4, 1, 1)
    reached = sample_ode(gaussian_velocity, noise, 400)
    torch.testing.assert_close(reached, MEAN + STD * noise, rtol=0, atol=5e-3)


@pytest.mark.parametrize("level", [0.3, 0.8])
def test_the_sde_has_the_same_distribution_as_the_ode(level):
    steps, n = 200, 20_000
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 1, 1, generator=generator)
    for step in range(steps):
        t = time_at(step, steps)
        v = gaussian_velocity(x, torch.full((n,), t))
        mean, std = sde_step(x, v, t, steps, level)
        x = mean + std * torch.randn(x.shape, generator=generator)
    assert float(x.mean()) == pytest.approx(MEAN, abs=4 * STD / n**0.5 + 0.005)
    assert float(x.std()) == pytest.approx(STD, rel=0.03)


def test_without_noise_an_sde_step_is_an_euler_step():
    x, v = torch.randn(3, 2, 2), torch.randn(3, 2, 2)
    mean, std = sde_step(x, v, 0.5, 4, 1e-9)
    torch.testing.assert_close(mean, x - v / 4)
    assert std == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("shared", [True, False])
def test_flow_noise_log_prob_is_that_of_the_joint_gaussian(shared):
    """x1 and x2 of v = g x are jointly Gaussian given x0, with a covariance written down here."""
    gain, std, steps = 0.6, 0.1, 2
    tool = explorer(steps=steps, shared=shared)
    start = torch.full((5, 1, 8), 0.3)
    chain = tool.sample(linear_flow(gain), start, torch.Generator().manual_seed(0))
    log_prob, _ = tool.log_prob(linear_flow(gain), chain.latent)
    a = 1 - gain / steps
    covariance = std**2 * np.array([[1, a], [a, 1 + a**2]])
    joint = stats.multivariate_normal(mean=[a * 0.3, a**2 * 0.3], cov=covariance)
    expected = joint.logpdf(chain.latent[:, 1:, 0, 0].numpy())
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-4)
    torch.testing.assert_close(chain.latent[:, -1], chain.actions)


@pytest.mark.parametrize("estimator", ["flow_noise", "flow_sde"])
def test_importance_weights_average_to_one(estimator):
    """E[p'(chain) / p(chain)] = 1 under p: true of a density only if it is normalised."""
    tool = explorer(executed=2, active=2, estimator=estimator, shared=False, level=0.5)
    start = torch.zeros(40_000, 2, 8)
    here, there = linear_flow(0.5), lambda x, t: (0.5 * x + 0.05, torch.zeros(*x.shape[:2], 4))
    chain = tool.sample(here, start, torch.Generator().manual_seed(1))
    with torch.no_grad():
        ratio = (tool.log_prob(there, chain.latent)[0] - tool.log_prob(here, chain.latent)[0]).exp()
    error = float(ratio.std()) / len(ratio) ** 0.5
    assert float(ratio.std()) > 0.05
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * error)


def test_entropy_is_minus_the_expected_log_prob():
    tool = explorer(executed=2, active=3, shared=False)
    chain = tool.sample(linear_flow(0.5), torch.zeros(20_000, 2, 8), torch.Generator())
    log_prob, entropy = tool.log_prob(linear_flow(0.5), chain.latent)
    error = float(log_prob.std()) / len(log_prob) ** 0.5
    assert float(entropy[0]) == pytest.approx(-float(log_prob.mean()), abs=4 * error)


def test_flow_sde_log_prob_is_that_of_its_one_random_step():
    steps, level, gain = 4, 0.5, 0.6
    tool = explorer(steps=steps, estimator="flow_sde", shared=False, level=level)
    chain = tool.sample(linear_flow(gain), torch.full((64, 1, 8), 0.3), torch.Generator())
    log_prob, _ = tool.log_prob(linear_flow(gain), chain.latent)
    before, after, number = (plane[:, 0, 0].numpy() for plane in chain.latent.unbind(1))
    assert set(number.astype(int)) == set(range(steps))
    for x, y, k, found in zip(before, after, number, log_prob, strict=True):
        t = 1 - k / steps
        sigma = level * math.sqrt(t / (1 - min(t, 1 - 1 / steps)))
        drift = gain * x + sigma**2 / (2 * t) * (x + (1 - t) * gain * x)
        expected = stats.norm(x - drift / steps, sigma / math.sqrt(steps)).logpdf(y)
        assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_only_the_last_step_may_be_noisy():
    tool = explorer(noisy_steps="last", steps=3)
    start = torch.full((4, 1, 8), 0.3)
    latent = tool.sample(linear_flow(0.6), start, torch.Generator().manual_seed(0)).latent
    torch.testing.assert_close(latent[:, 2], start * (1 - 0.2) ** 2)
    assert (latent[:, 3, :, 0] != latent[:, 2, :, 0] * 0.8).all()


def test_a_learnt_std_stays_in_its_range_and_gets_a_gradient():
    tool = explorer(executed=2, active=2, std_low=0.08, std_high=0.16, shared=False)
    features = torch.randn(16, 2, 4) * 50

    def flow(x: torch.Tensor, _t: torch.Tensor):
        return 0.5 * x, features

    with torch.no_grad():
        for parameter in tool.head.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
        chain = tool.sample(flow, torch.zeros(16, 2, 8), torch.Generator().manual_seed(0))
    _, entropy = tool.log_prob(flow, chain.latent)
    low, high = (float(gaussian_entropy(torch.full((1, 12), std))) for std in (0.08, 0.16))
    assert low - 1e-3 <= float(entropy.detach().min())
    assert float(entropy.detach().max()) <= high + 1e-3
    assert float(entropy.detach().std()) > 0
    entropy.sum().backward()
    assert tool.head[0].weight.grad.abs().sum() > 0


def test_training_times_follow_their_distribution():
    t = sample_times(20_000, torch.Generator().manual_seed(0)).numpy()
    assert stats.kstest((t - 0.001) / 0.999, stats.beta(1.5, 1).cdf).pvalue > 0.01


class TestRealTimeChunking:
    @given(delay=st.integers(0, 12), overlap=st.integers(0, 12), horizon=st.integers(1, 10))
    def test_weights_fall_from_one_to_zero(self, delay, overlap, horizon):
        weights = prefix_weights(delay, overlap, horizon)
        assert weights.shape == (horizon,)
        assert (weights[: min(delay, horizon)] == 1).all()
        assert (weights[max(delay, overlap) :] == 0).all()
        assert (weights.diff() <= 0).all()

    def test_weights_are_linear(self):
        torch.testing.assert_close(
            prefix_weights(1, 4, 6), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0, 0.0])
        )

    def test_the_old_chunk_is_followed_where_the_weight_is_one_and_ignored_where_zero(self):
        steps, target = 20, torch.full((1, 4, 2), 1.0)
        weights = torch.tensor([1.0, 1.0, 0.0, 0.0])
        start = torch.randn(1, 4, 2, generator=torch.Generator().manual_seed(0))
        free = sample_ode(gaussian_velocity, start, steps)
        x = start
        for step in range(steps):
            t = time_at(step, steps)
            x = x - guided(gaussian_velocity, x, t, target, weights, 10.0) / steps
        torch.testing.assert_close(x[:, 2:], free[:, 2:])
        missed, missed_free = ((y - target)[:, :2].abs().mean() for y in (x, free))
        assert float(missed) < 0.25 * float(missed_free)

    def test_the_correction_uses_the_flows_jacobian(self):
        """For v = A x the estimate is (I - t A) x, so the correction is (I - t A)^T W error."""
        A = torch.tensor([[0.2, 0.5], [-0.3, 0.1]])
        x = torch.tensor([[[0.4], [-0.7]]])
        target, weights, t = torch.ones(1, 2, 1), torch.tensor([1.0, 0.5]), 0.6
        steered = guided(lambda y, _t: A @ y, x, t, target, weights, 1e9)
        jacobian = torch.eye(2) - t * A
        error = weights[:, None] * (target - jacobian @ x)
        tau = 1 - t
        strength = (1 - tau) / tau * (tau**2 + (1 - tau) ** 2) / (1 - tau) ** 2
        torch.testing.assert_close(steered, A @ x - strength * (jacobian.T @ error))
