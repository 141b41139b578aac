"""The compact family: shapes, exploration space, language, limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rlco_datasets.contract import franka_compact
from rlco_trainer.policies.compact import CompactConfig, CompactPolicy, spatial_softmax
from rlco_trainer.policies.interface import Observation, clip_to_contract
from rlco_trainer.untrained import nominal_normalisation

CONTRACT = franka_compact()


def make_policy(still: tuple[int, ...] = (3, 4), seed: int = 0) -> CompactPolicy:
    normal = nominal_normalisation(CONTRACT)
    std = tuple(0.001 if i in still else s for i, s in enumerate(normal.action_std))
    torch.manual_seed(seed)
    return CompactPolicy(CONTRACT, replace(normal, action_std=std), CompactConfig())


def make_observation(batch: int = 6, instruction: str = "pick up the cube") -> Observation:
    rng = np.random.default_rng(0)
    return Observation.from_numpy(
        {"third_person": rng.integers(0, 255, (batch, 64, 64, 3), dtype=np.uint8)},
        rng.normal(size=(batch, 10)).astype(np.float32),
        [instruction] * batch,
    )


def test_is_small_enough_for_a_laptop():
    assert sum(p.numel() for p in make_policy().parameters()) < 1_000_000


@pytest.mark.parametrize("frozen", [False, True])
def test_log_prob_when_acting_equals_log_prob_when_evaluating(frozen):
    policy = make_policy()
    if frozen:
        policy.freeze_trunk()
    features = policy.encode(make_observation())
    decision = policy.act(features, torch.Generator().manual_seed(3))
    log_prob, entropy = policy.evaluate_actions(features, decision.latent)
    torch.testing.assert_close(log_prob, decision.log_prob, rtol=0, atol=1e-5)
    assert entropy.shape == log_prob.shape == (6,)


def test_freezing_the_trunk_changes_no_output_and_stops_its_gradient():
    policy = make_policy()
    before = policy.best_actions(policy.encode(make_observation()))
    policy.freeze_trunk()
    features = policy.encode(make_observation())
    torch.testing.assert_close(policy.best_actions(features), before)
    policy.best_actions(features).sum().backward()
    assert all(p.grad is None for p in policy.trunks.parameters())
    assert all(p.grad is not None for p in policy.head.parameters())


def test_exploration_is_one_offset_for_the_whole_chunk():
    policy = make_policy()
    features = policy.encode(make_observation())
    offset = policy.act(features, torch.Generator().manual_seed(1)).actions
    offset = offset - policy.best_actions(features)
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset), rtol=0, atol=1e-6)
    assert (offset[:, 0, :3].abs() > 0).all()


def test_dimensions_that_never_move_carry_neither_noise_nor_log_prob():
    policy = make_policy(still=(3, 4))
    features = policy.encode(make_observation())
    decision = policy.act(features, torch.Generator().manual_seed(1))
    assert decision.latent.shape == (6, 5)
    assert torch.equal(decision.actions[..., 3:5], torch.zeros(6, 4, 2))


def test_no_moving_dimension_is_refused():
    with pytest.raises(ValueError, match="no explored action dimension moves"):
        make_policy(still=tuple(range(7)))


def test_exploration_std_is_in_physical_units():
    policy = make_policy()
    features = policy.encode(make_observation(1))
    features = {k: v.expand(4000, *v.shape[1:]) for k, v in features.items()}
    actions = policy.act(features, torch.Generator().manual_seed(0)).actions
    assert float(actions[:, 0, 0].std()) == pytest.approx(0.0025, rel=0.1)
    assert float(actions[:, 0, 5].std()) == pytest.approx(0.01, rel=0.1)
    assert float(actions[:, 0, 6].std()) == pytest.approx(0.05, rel=0.1)


def test_the_instruction_enters():
    policy = make_policy()
    one = policy.best_actions(policy.encode(make_observation(instruction="open the drawer")))
    two = policy.best_actions(policy.encode(make_observation(instruction="close the drawer")))
    assert not torch.allclose(one, two)


def test_sft_loss_ignores_masked_steps_and_still_dimensions():
    policy = make_policy(still=(3, 4))
    features = policy.encode(make_observation())
    actions = torch.zeros(6, 4, 7)
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:, 2:] = False
    loss = policy.sft_loss(features, actions, mask)["loss"]
    spoiled = actions.clone()
    spoiled[:, 2:] = 9.0
    spoiled[..., 3:5] = 9.0
    assert torch.equal(policy.sft_loss(features, spoiled, mask)["loss"], loss)
    spoiled[:, 0, 0] = 9.0
    assert policy.sft_loss(features, spoiled, mask)["loss"] > loss


def test_actions_stay_within_the_contract():
    wild = clip_to_contract(torch.randn(50, 7) * 10, CONTRACT)
    assert float(wild[:, :3].norm(dim=-1).max()) <= CONTRACT.max_translation_m * 1.0001
    assert float(wild[:, 3:6].norm(dim=-1).max()) <= CONTRACT.max_rotation_rad * 1.0001
    assert float(wild[:, 6].min()) >= 0
    assert float(wild[:, 6].max()) <= 1
    tame = torch.full((1, 7), 0.01)
    torch.testing.assert_close(clip_to_contract(tame, CONTRACT), tame)


def test_spatial_softmax_points_at_the_peak():
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 1, 4] = 50.0
    torch.testing.assert_close(spatial_softmax(maps), torch.tensor([[1.0, -0.5]]))


class TestInfer:
    @pytest.fixture(autouse=True)
    def _inputs(self):
        self.policy = make_policy()
        self.images = {"third_person": np.zeros((2, 64, 64, 3), np.uint8)}
        self.state = np.zeros((2, 10), np.float32)

    def test_returns_a_float32_chunk_per_item(self):
        chunk = self.policy.infer(self.images, self.state, ["a", "b"])
        assert chunk.shape == (2, 4, 7)
        assert chunk.dtype == np.float32

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"images": {"wrist": np.zeros((2, 64, 64, 3), np.uint8)}}, "wrist"),
            ({"images": {"third_person": np.zeros((2, 32, 64, 3), np.uint8)}}, "32"),
            ({"images": {"third_person": np.zeros((2, 64, 64, 3), np.float32)}}, "float32"),
            ({"state": np.zeros((2, 9), np.float32)}, "state is"),
            ({"state": np.full((2, 10), np.nan, np.float32)}, "NaN"),
        ],
    )
    def test_names_what_does_not_fit(self, change, message):
        given = {"images": self.images, "state": self.state, "instructions": ["a", "b"]} | change
        with pytest.raises(ValueError, match=message):
            self.policy.infer(**given)
