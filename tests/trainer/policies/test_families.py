"""What every family and estimator owes to the stages, on its smallest policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.small_policies import CASES, STILL, contract_of, make, observe
from rlco_trainer.checkpoint import Lineage, load_policy, save_policy
from rlco_trainer.episodes import PolicyPackage
from rlco_trainer.losses import ppo_clip
from rlco_trainer.policies.families import FamilyError, build_policy

pytestmark = pytest.mark.parametrize("name", CASES)


@pytest.mark.parametrize("frozen", [False, True])
def test_before_the_first_step_the_ratio_is_exactly_one(name, frozen):
    policy = make(name)
    if frozen:
        policy.freeze_trunk()
    features = policy.encode(observe())
    decision = policy.act(features, torch.Generator().manual_seed(3))
    log_prob, entropy = policy.evaluate_actions(features, decision.latent)
    assert torch.equal(log_prob, decision.log_prob)
    assert entropy.shape == log_prob.shape == (6,)
    assert torch.isfinite(log_prob).all()
    terms = ppo_clip(log_prob, decision.log_prob, torch.ones(6), 0.2)
    assert float(terms["ratio_deviation"]) == 0


def test_an_item_has_the_same_log_prob_in_any_batch(name):
    policy = make(name)
    policy.freeze_trunk()
    features = policy.encode(observe())
    decision = policy.act(features, torch.Generator().manual_seed(3))
    rows = torch.tensor([4, 1])
    one, _ = policy.evaluate_actions(
        {k: v[rows] for k, v in features.items()}, decision.latent[rows]
    )
    torch.testing.assert_close(one, decision.log_prob[rows], rtol=0, atol=1e-3)


def test_freezing_the_trunk_changes_no_output_and_stops_its_gradient(name):
    policy = make(name)
    before = policy.best_actions(policy.encode(observe()))
    policy.freeze_trunk()
    features = policy.encode(observe())
    torch.testing.assert_close(policy.best_actions(features), before, rtol=0, atol=1e-5)
    decision = policy.act(features, torch.Generator().manual_seed(0))
    policy.evaluate_actions(features, decision.latent)[0].sum().backward()
    frozen = [p for p in policy.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)
    assert any(p.grad is not None and p.grad.any() for p in policy.parameters())


def test_features_survive_the_way_through_numpy(name):
    policy = make(name)
    policy.freeze_trunk()
    features = policy.encode(observe())
    again = {k: torch.from_numpy(v.numpy()) for k, v in features.items()}
    assert torch.equal(policy.best_actions(again), policy.best_actions(features))
    assert {len(v) for v in features.values()} == {6}


def test_what_never_moves_is_neither_explored_nor_trained(name):
    policy = make(name)
    features = policy.encode(observe())
    actions = torch.zeros(6, 4, 7)
    mask = torch.ones(6, 4, dtype=torch.bool)
    spoiled = actions.clone()
    spoiled[..., list(STILL)] = 0.05

    def loss(target: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return policy.sft_loss(features, target, mask)["loss"].detach()

    torch.testing.assert_close(loss(spoiled), loss(actions), rtol=0, atol=1e-6)
    spoiled[:, 0, 0] = 0.05
    assert abs(float(loss(spoiled) - loss(actions))) > 1e-4
    explored = policy.act(features, torch.Generator().manual_seed(0)).actions
    still = explored[..., list(STILL)]
    assert float(still.abs().max()) < 1e-3


def test_the_supervised_loss_leaves_out_what_is_past_the_episode(name):
    policy = make(name, contract=contract_of(horizon=4, executed_steps=2))
    features, actions = policy.encode(observe()), torch.zeros(6, 4, 7)
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:, 1:] = False

    def terms(target: torch.Tensor) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return {k: v.detach() for k, v in policy.sft_loss(features, target, mask).items()}

    first = terms(actions)
    nothing = policy.sft_loss(features, actions, torch.zeros(6, 4, dtype=torch.bool))["loss"]
    assert float(nothing.detach()) == 0
    spoiled = actions.clone()
    spoiled[:, 0] += 0.04
    assert float(terms(spoiled)["loss"]) != float(first["loss"])


def test_the_log_prob_counts_executed_steps_only(name):
    policy = make(name, contract=contract_of(horizon=4, executed_steps=2))
    features = policy.encode(observe())
    decision = policy.act(features, torch.Generator().manual_seed(0))
    latent = decision.latent.clone()
    if name.startswith("compact"):
        assert latent.shape == (6, 5)  # one offset for the chunk: nothing of it is a tail
    elif name.startswith("openvla"):
        latent[:, 14:] = latent[:, 14:].flip(1)
    else:
        latent[:, -1 if "sde" not in name else 1, 2:] += 0.3
    changed, _ = policy.evaluate_actions(features, latent)
    torch.testing.assert_close(changed, decision.log_prob)


def test_infers_in_contract_units(name):
    policy = make(name)
    seen = observe(2)
    images = {camera: image.numpy() for camera, image in seen.images.items()}
    chunk = policy.infer(images, seen.state.numpy(), ["push the cube", "open the drawer"])
    assert chunk.shape == (2, 4, 7)
    assert chunk.dtype == np.float32
    limit = policy.contract.max_translation_m * 1.0001
    assert np.linalg.norm(chunk[..., :3], axis=-1).max() <= limit


def test_the_instruction_and_the_picture_enter(name):
    policy = make(name)
    base = policy.evaluate_actions
    features = policy.encode(observe(instruction="open the drawer"))
    latent = policy.act(features, torch.Generator().manual_seed(0)).latent
    log_prob = base(features, latent)[0]
    for other in (
        observe(instruction="close the box"),
        observe(instruction="open the drawer", seed=1),
    ):
        assert not torch.allclose(base(policy.encode(other), latent)[0], log_prob)


def test_a_checkpoint_brings_back_the_same_policy(name, tmp_path):
    policy = make(name)
    save_policy(tmp_path / "checkpoint", policy, Lineage(stage="init"))
    loaded = load_policy(tmp_path / "checkpoint", policy.contract).policy
    assert loaded.architecture() == policy.architecture()
    one, two = (p.best_actions(p.encode(observe())) for p in (policy, loaded))
    assert torch.equal(one, two)


def test_a_worker_gets_the_same_policy(name):
    policy = make(name)
    policy.freeze_trunk()
    unpacked = PolicyPackage.of(policy).unpack()
    one, two = (p.best_actions(p.encode(observe())) for p in (policy, unpacked))
    assert torch.equal(one, two)


def test_a_critic_can_read_it(name):
    policy = make(name)
    policy.freeze_trunk()
    read = policy.value_features(policy.encode(observe()))
    assert read.shape[0] == 6
    assert read.dtype == torch.float32
    assert not read.requires_grad


def test_an_unknown_family_is_named(name):
    policy = make(name)
    with pytest.raises(FamilyError, match=r"'gpt' is unknown.*openvla"):
        build_policy("gpt", policy.contract, policy.normalisation, policy.architecture())


def test_what_is_executed_depends_on_what_is_seen_alone(name):
    policy = make(name)
    if name.startswith("pi"):
        policy.config = replace(policy.config, start="sampled")
    policy.freeze_trunk()
    features = policy.encode(observe())
    rows = torch.tensor([4, 1])
    alone = policy.best_actions({key: value[rows] for key, value in features.items()})
    torch.testing.assert_close(alone, policy.best_actions(features)[rows], rtol=0, atol=1e-5)
