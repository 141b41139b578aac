"""A compiled policy computes what the same policy does without torch.compile.

The graphs are those that a GPU gets; kernels of PyTorch itself run them, without a C++ compiler.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from fakes.small_policies import (
    CASES,
    contract_of,
    flow_config,
    make,
    normalisation_of,
    observe,
    token_config,
)
from rlco_trainer.policies.interface import Policy
from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
from rlco_trainer.policies.pi05.policy import Pi05Policy


def compiled_like(plain: Policy, name: str) -> Policy:
    case, contract = CASES[name], contract_of()
    normal = normalisation_of(contract)
    policy: Policy
    if case.family == "openvla":
        policy = OpenVlaPolicy(contract, normal, token_config(case, compile=True))
    else:
        policy = Pi05Policy(contract, normal, flow_config(case, compile=True))
    policy.load_state_dict(plain.state_dict())
    return policy.eval()


def numbers(policy: Policy) -> dict[str, torch.Tensor]:
    features = policy.encode(observe())
    torch.manual_seed(1)
    mask = torch.ones(6, 4, dtype=torch.bool)
    loss = policy.sft_loss(features, torch.zeros(6, 4, 7), mask)["loss"]
    loss.backward()
    gradients = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
    decision = policy.act(features, torch.Generator().manual_seed(3))
    log_prob, _ = policy.evaluate_actions(features, decision.latent)
    return gradients | {
        "loss": loss,
        "best actions": policy.best_actions(features),
        "explored": decision.actions,
        "log-probability at rollout": decision.log_prob,
        "log-probability at update": log_prob,
    }


@pytest.mark.parametrize(
    "name", ["pi05-noise-step", "pi05-sde", "pi0-noise-chunk", "openvla", "openvla-parallel"]
)
def test_compiling_changes_no_number(name, monkeypatch):
    calls = []

    def counted(function, **options):
        calls.append(function)
        return compile_with(function, **options)

    compile_with = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", counted)
    plain = make(name)
    assert not calls
    expected = numbers(plain)
    found = numbers(compiled_like(plain, name))
    assert len(calls) == 1
    assert found.keys() == expected.keys()
    for what, value in expected.items():
        torch.testing.assert_close(found[what], value, rtol=0, atol=2e-5, msg=what)
