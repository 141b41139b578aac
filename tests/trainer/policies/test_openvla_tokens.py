"""Action tokens, by the numbers of OpenVLA's own tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.small_policies import CASES, contract_of, make, normalisation_of, token_config
from hypothesis import given
from hypothesis import strategies as st
from rlco_trainer.losses import token_cross_entropy, token_log_prob
from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
from rlco_trainer.policies.openvla.tokens import (
    action_ids,
    decode_actions,
    encode_actions,
    neighbours,
    prompts,
)

VOCABULARY = 32000


@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=8))
def test_ids_are_those_of_digitize(values):
    expected = VOCABULARY - np.digitize(
        np.clip(np.array(values, np.float32), -1, 1), np.linspace(-1, 1, 256)
    )
    assert encode_actions(torch.tensor(values), VOCABULARY).tolist() == expected.tolist()


@pytest.mark.parametrize(("value", "token"), [(-1.0, 31999), (0.0, 31872), (1.0, 31744)])
def test_the_ends_and_the_middle(value, token):
    assert int(encode_actions(torch.tensor([value]), VOCABULARY)) == token
    assert action_ids(VOCABULARY) == (31744, 32000)


@given(st.floats(-1, 1, width=32))
def test_decoding_is_within_half_a_bin(value):
    token = encode_actions(torch.tensor([value]), VOCABULARY)
    assert float(decode_actions(token, VOCABULARY)) == pytest.approx(value, abs=1 / 255 + 1e-6)


def test_ids_past_the_ends_decode_to_the_last_bin():
    centres = decode_actions(torch.tensor([31744, 31745, 32000, 5]), VOCABULARY)
    assert centres[0] == centres[1] == centres[3]
    assert float(centres[2]) == pytest.approx(-1 + 1 / 255)


def test_the_prompt_is_the_published_one():
    assert prompts(["Put the Cube in the bowl"]) == [
        "In: What action should the robot take to put the cube in the bowl?\nOut:"
    ]


def test_cross_entropy_of_a_hand_worked_case():
    logits = torch.log(torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]]))
    target, weight = torch.tensor([[0, 1]]), torch.tensor([[True, True]])
    terms = token_cross_entropy(logits, target, weight)
    assert float(terms["loss"]) == pytest.approx(-(np.log(0.7) + np.log(0.1)) / 2)
    assert float(terms["accuracy"]) == 0.5
    first = token_cross_entropy(logits, target, torch.tensor([[True, False]]))
    assert float(first["loss"]) == pytest.approx(-np.log(0.7))


def test_log_prob_and_entropy_of_a_hand_worked_case():
    logits = torch.log(torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]])) + 3
    tokens, weight = torch.tensor([[0, 2]]), torch.tensor([[True, True]])
    log_prob, entropy = token_log_prob(logits, tokens, weight)
    assert float(log_prob) == pytest.approx(np.log(0.7) + np.log(0.8))
    one, two = ([0.7, 0.2, 0.1], [0.1, 0.1, 0.8])
    assert float(entropy) == pytest.approx(-sum(p * np.log(p) for p in one + two))
    log_prob, _ = token_log_prob(logits, tokens, torch.tensor([[False, True]]))
    assert float(log_prob) == pytest.approx(np.log(0.8))


def test_neighbouring_bins_share_what_is_asked_for():
    spread = neighbours(4.0)
    torch.testing.assert_close(spread.sum(1), torch.ones(256))
    row = spread[132]
    assert int(row.argmax()) == 132
    deviation = (row * (torch.arange(256) - 132).square()).sum().sqrt()
    assert float(deviation) == pytest.approx(4.0, rel=1e-3)


def test_the_median_bin_is_chosen_where_asked_for():
    contract = contract_of()
    config = token_config(CASES["openvla"], decision="median")
    policy = OpenVlaPolicy(contract, normalisation_of(contract), config)
    shares = torch.full((2, 256), 1e-9)
    shares[0, [10, 11, 200]] = torch.tensor([0.3, 0.3, 0.4])
    shares[1, [0, 255]] = torch.tensor([0.4, 0.6])
    assert policy._decided(shares.log()).tolist() == [11, 255]
    assert make("openvla")._decided(shares.log()).tolist() == [200, 255]
