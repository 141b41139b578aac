"""The recipe of docs/models.md, at the smallest size that can still fail: see, then act on it."""

from __future__ import annotations

import pytest
import torch
from rlco_datasets.contract import franka_compact
from rlco_trainer.policies.interface import Observation, Policy
from rlco_trainer.policies.presets import new_policy
from rlco_trainer.policies.stem import Stem
from rlco_trainer.stem_regression import StemRegression, required_stem
from rlco_trainer.untrained import nominal_normalisation

pytestmark = pytest.mark.slow
REACH = 0.03
"""How far an action goes towards what stands at the picture's edge, m a step."""
STEPS = {"stem": 180, "pi05-tiny": 60, "openvla-tiny": 90}


def lesson(batch: int, generator: torch.Generator) -> tuple[Observation, torch.Tensor]:
    """Return pictures of a small red square among noise, and the actions towards it.

    The state says nothing: only who sees the square knows where to go.
    """
    images = torch.randint(60, 120, (batch, 64, 64, 3), generator=generator)
    corners = torch.randint(0, 56, (batch, 2), generator=generator)
    actions = torch.zeros(batch, 4, 7)
    for i, (row, column) in enumerate(corners.tolist()):
        images[i, row : row + 8, column : column + 8] = torch.tensor([220, 40, 40])
        actions[i, :, 0] = REACH * (row - 27.5) / 27.5
        actions[i, :, 1] = REACH * (column - 27.5) / 27.5
    actions[..., 6] = 0.5
    return Observation(
        images={"third_person": images.to(torch.uint8)},
        state=torch.zeros(batch, 10),
        instructions=("reach for the red square",) * batch,
    ), actions


def fit(learner: Policy | StemRegression, steps: int, *, seed: int) -> None:
    """Train as stage I does, with a rate that falls to zero."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    mask = torch.ones(24, 4, dtype=torch.bool)
    for _ in range(steps):
        seen, actions = lesson(24, generator)
        loss = learner.sft_loss(learner.encode(seen), actions, mask)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()


def tiny(name: str) -> Policy:
    torch.manual_seed(0)
    contract = franka_compact()
    return new_policy(name, contract, nominal_normalisation(contract)).train()


@pytest.fixture(scope="module")
def stem() -> Stem:
    """A stem that learnt by regression where the square is."""
    policy = tiny("pi05-tiny")
    fit(StemRegression(policy), STEPS["stem"], seed=0)
    return required_stem(policy)


@pytest.mark.parametrize("name", ["pi05-tiny", "openvla-tiny"])
def test_a_tiny_policy_goes_where_its_stem_sees_the_square(stem, name):
    policy = tiny(name)
    own = required_stem(policy)
    own.load_state_dict(stem.state_dict())
    own.requires_grad_(False)
    fit(policy, STEPS[name], seed=1)
    seen, actions = lesson(64, torch.Generator().manual_seed(9))
    with torch.no_grad():
        chunk = policy.eval().best_actions(policy.encode(seen))
    error = (chunk - actions)[..., :2].abs().mean()
    blind = actions[..., :2].abs().mean()
    assert float(error) < 0.4 * float(blind)
