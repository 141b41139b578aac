"""Each family learns a one-step task: by imitation, and by reward with every estimator."""

from __future__ import annotations

from pathlib import Path

import pytest
import rlco_calibration
import torch
from fakes.small_policies import CASES, make
from rlco_calibration.twin import load_twin
from rlco_trainer.losses import ppo_clip
from rlco_trainer.policies.interface import Observation

FAST = 0.03
"""What the supervised task asks for along x or y, m a step."""


def lesson(batch: int, generator: torch.Generator) -> tuple[Observation, torch.Tensor]:
    """Return observations and actions: the word decides x, the picture's brightness y."""
    right = torch.rand(batch, generator=generator) < 0.5
    bright = torch.rand(batch, generator=generator) < 0.5
    noise = torch.randint(0, 40, (batch, 64, 64, 3), generator=generator)
    images = (noise + torch.where(bright, 200, 10)[:, None, None, None]).to(torch.uint8)
    actions = torch.zeros(batch, 4, 7)
    actions[..., 0] = torch.where(right, FAST, -FAST)[:, None]
    actions[..., 1] = torch.where(bright, FAST, -FAST)[:, None]
    actions[..., 6] = 0.5
    words = tuple("go right" if r else "go left" for r in right)
    return Observation(
        images={"third_person": images}, state=torch.zeros(batch, 10), instructions=words
    ), actions


@pytest.mark.parametrize(
    "name", ["compact", "pi05-noise-chunk", "pi0-noise-chunk", "openvla", "openvla-parallel"]
)
def test_imitates_what_word_and_picture_ask_for(name):
    policy = make(name).train()
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(16, 4, dtype=torch.bool)
    for step in range(150):
        if step == 110:
            for group in optimizer.param_groups:
                group["lr"] = 5e-4
        seen, actions = lesson(16, generator)
        loss = policy.sft_loss(policy.encode(seen), actions, mask)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    seen, actions = lesson(64, generator)
    with torch.no_grad():
        error = (policy.eval().best_actions(policy.encode(seen)) - actions)[..., :2].abs()
    assert float(error.mean()) < 0.2 * FAST


def test_compact_tells_the_four_tasks_apart():
    """Same picture and state: only the bench's instructions differ."""
    twin = load_twin(Path(rlco_calibration.__file__).parent / "bench.yaml")
    words = tuple(task.instruction for task in twin.tasks)
    assert len(set(words)) == 4
    seen = Observation(
        images={"third_person": torch.full((4, 64, 64, 3), 90, dtype=torch.uint8)},
        state=torch.zeros(4, 10),
        instructions=words,
    )
    actions = torch.zeros(4, 4, 7)
    for task, (x, y) in enumerate([(1, 1), (1, -1), (-1, 1), (-1, -1)]):
        actions[task, :, 0], actions[task, :, 1] = FAST * x, FAST * y
    policy = make("compact").train()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for _ in range(120):
        loss = policy.sft_loss(policy.encode(seen), actions, torch.ones(4, 4, dtype=torch.bool))
        optimizer.zero_grad(set_to_none=True)
        loss["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        error = (policy.best_actions(policy.encode(seen)) - actions)[..., :2].abs()
    assert float(error.max()) < 0.2 * FAST


@pytest.mark.parametrize("name", CASES)
def test_reward_moves_the_policy_towards_the_goal(name):
    """The reward is how far the executed steps go along x; the best is the contract's limit."""
    policy = make(name)
    policy.freeze_trunk()
    seen = lesson(64, torch.Generator().manual_seed(0))[0]
    features = policy.encode(seen)
    trained = [p for p in policy.parameters() if p.requires_grad]
    rate = 3e-4 if name == "compact" else 1e-3
    optimizer = torch.optim.Adam(trained, lr=rate)

    def progress() -> float:
        return float(policy.best_actions(features)[..., 0].mean())

    before = progress()
    for iteration in range(12):
        decision = policy.act(features, torch.Generator().manual_seed(iteration))
        reward = decision.actions[..., 0].mean(1)
        advantage = (reward - reward.mean()) / (reward.std() + 1e-6)
        for _ in range(3):
            log_prob, _ = policy.evaluate_actions(features, decision.latent)
            loss = ppo_clip(log_prob, decision.log_prob, advantage, 0.2)["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
    assert progress() > before + 0.003
