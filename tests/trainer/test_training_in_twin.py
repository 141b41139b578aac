"""Rollout and evaluation in the real twin: the seam between policies and scenes holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rlco_calibration
import torch
from rlco_calibration.twin import load_twin
from rlco_datasets.contract import franka_compact
from rlco_trainer.conditions import draw
from rlco_trainer.episodes import EpisodeRequest, PolicyPackage
from rlco_trainer.policies.compact import CompactConfig, CompactPolicy
from rlco_trainer.rollout import run_episodes
from rlco_trainer.untrained import nominal_normalisation

pytestmark = pytest.mark.sim
BENCH = Path(rlco_calibration.__file__).parent / "bench.yaml"
TASK = "pick_and_place"


@pytest.fixture(scope="module")
def scenes():
    from rlco_trainer.twin.batch import TwinBatch

    return TwinBatch(load_twin(BENCH), franka_compact(), TASK, 2)


def request_of(explore: bool) -> tuple[CompactPolicy, EpisodeRequest]:
    twin, contract = load_twin(BENCH), franka_compact()
    torch.manual_seed(0)
    policy = CompactPolicy(contract, nominal_normalisation(contract), CompactConfig())
    policy.freeze_trunk()
    return policy, EpisodeRequest(
        policy=PolicyPackage.of(policy),
        task=TASK,
        conditions=draw(twin, TASK, 3, purpose="test", seed=0),
        instruction=twin.task(TASK).instruction,
        max_steps=6,
        explore=explore,
        shaping=0.1,
        gamma=0.97,
    )


def test_rollout_features_are_what_the_update_needs(scenes):
    policy, request = request_of(explore=True)
    experience = run_episodes(scenes, request).experience
    assert experience is not None
    assert experience.lengths.tolist() == [2, 2, 2]
    assert len(np.unique(experience.features["visual"], axis=0)) > 1  # the pictures are not blank
    features = {name: torch.from_numpy(value) for name, value in experience.features.items()}
    log_prob, _ = policy.evaluate_actions(features, torch.from_numpy(experience.latent))
    ratio = (log_prob - torch.from_numpy(experience.log_prob)).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-3)
    assert np.isfinite(experience.privileged).all()
    assert np.isfinite(experience.reward).all()


def test_deterministic_evaluation_repeats(scenes):
    _, request = request_of(explore=False)
    first, second = run_episodes(scenes, request), run_episodes(scenes, request)
    assert first.outcomes == second.outcomes
    assert [outcome.steps for outcome in first.outcomes] == [6, 6, 6]
