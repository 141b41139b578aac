"""Losses and advantages, against values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rlco_trainer.advantages import chunk_advantages
from rlco_trainer.losses import gaussian_log_prob, ppo_clip, supervised_regression


def test_gae_worked_by_hand_terminated():
    # gamma .5, lambda .5; deltas: 0+.5*2-1=0, 0+.5*3-2=-.5, 1+0-3=-2
    advantages, returns = chunk_advantages(
        np.array([0, 0, 1], np.float32),
        np.array([1, 2, 3], np.float32),
        100.0,
        terminated=True,
        gamma=0.5,
        lambda_=0.5,
    )
    np.testing.assert_allclose(advantages, [-0.25, -1.0, -2.0])
    np.testing.assert_allclose(returns, [0.75, 1.0, 1.0])


def test_gae_worked_by_hand_truncated_bootstraps():
    # last delta: 1 + .5*4 - 3 = 0; then -.5 + .25*0; then 0 + .25*-.5
    advantages, _ = chunk_advantages(
        np.array([0, 0, 1], np.float32),
        np.array([1, 2, 3], np.float32),
        4.0,
        terminated=False,
        gamma=0.5,
        lambda_=0.5,
    )
    np.testing.assert_allclose(advantages, [-0.125, -0.5, 0.0])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.floats(0, 1))
def test_gae_with_lambda_one_is_the_discounted_return(rewards, gamma):
    values = np.linspace(-1, 1, len(rewards)).astype(np.float32)
    _, returns = chunk_advantages(
        np.array(rewards, np.float32), values, 0.0, terminated=True, gamma=gamma, lambda_=1.0
    )
    expected = sum(r * gamma**i for i, r in enumerate(rewards))
    assert returns[0] == pytest.approx(expected, abs=1e-4)


def test_gae_refuses_arrays_that_do_not_match():
    with pytest.raises(ValueError, match="rewards"):
        chunk_advantages(
            np.zeros(2, np.float32),
            np.zeros(3, np.float32),
            0.0,
            terminated=True,
            gamma=0.9,
            lambda_=0.9,
        )


def test_ppo_clip_worked_by_hand():
    log_prob = torch.log(torch.tensor([1.5, 0.5, 1.1]))
    terms = ppo_clip(log_prob, torch.zeros(3), torch.tensor([1.0, -1.0, 2.0]), 0.2)
    # min(1.5, 1.2)*1, min(-.5, -.8), 1.1*2
    assert float(terms["loss"]) == pytest.approx(-(1.2 - 0.8 + 2.2) / 3)
    assert float(terms["clip_fraction"]) == pytest.approx(2 / 3)
    kl = sum(r - 1 - math.log(r) for r in (1.5, 0.5, 1.1)) / 3
    assert float(terms["kl"]) == pytest.approx(kl, rel=1e-5)


def test_ppo_gradient_vanishes_where_the_ratio_is_clipped():
    log_prob = torch.log(torch.tensor([1.5, 1.0])).requires_grad_()
    ppo_clip(log_prob, torch.zeros(2), torch.tensor([1.0, 1.0]), 0.2)["loss"].backward()
    assert log_prob.grad is not None
    assert float(log_prob.grad[0]) == 0
    assert float(log_prob.grad[1]) == pytest.approx(-0.5)


def test_gaussian_log_prob_is_that_of_torch():
    value, mean, std = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0.1, 1.0, 2.0])
    expected = torch.distributions.Normal(mean, std).log_prob(value).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(value, mean, std), expected)


def test_supervised_loss_averages_over_real_elements_only():
    target = torch.zeros(2, 4, 7)
    predicted = torch.zeros(2, 4, 7)
    predicted[0, 0, 0] = 3.0  # smooth L1: 2.5
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[0, :2] = True
    active = torch.tensor([True, True, False, False, False, False, True])
    terms = supervised_regression(predicted, target, mask, active, executed_steps=4)
    assert float(terms["loss"]) == pytest.approx(2.5 / 6)
    assert float(terms["translation"]) == pytest.approx(2.5 / 4)
    assert float(terms["gripper"]) == 0
    executed = supervised_regression(predicted, target, mask, active, executed_steps=1)
    assert float(executed["loss"]) == pytest.approx(2.5 / 3)
