"""The smallest policies of each family and estimator: the code paths of the large ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from rlco_datasets.contract import Contract, franka_compact
from rlco_datasets.statistics import Normalisation
from rlco_trainer.policies.compact import CompactConfig, CompactPolicy
from rlco_trainer.policies.interface import Observation, Policy
from rlco_trainer.policies.openvla.config import ImageTowerConfig, LlamaSizes, OpenVlaConfig
from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
from rlco_trainer.policies.pi05.config import (
    FlowExploration,
    Pi05Config,
    TowerConfig,
    VisionConfig,
)
from rlco_trainer.policies.pi05.policy import Pi05Policy
from rlco_trainer.untrained import nominal_normalisation

STILL = (3, 4)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family and what distinguishes its exploration."""

    family: str
    exploration: FlowExploration | None = None
    decoding: str = "autoregressive"
    variant: str = "pi05"


CASES = {
    "compact": Case(family="compact"),
    "pi05-noise-chunk": Case(family="pi05", exploration=FlowExploration()),
    "pi05-noise-last": Case(family="pi05", exploration=FlowExploration(noisy_steps="last")),
    "pi05-noise-step": Case(family="pi05", exploration=FlowExploration(shared=False)),
    "pi05-sde": Case(
        family="pi05", exploration=FlowExploration(estimator="flow_sde", shared=False)
    ),
    "pi0-noise-chunk": Case(family="pi05", exploration=FlowExploration(), variant="pi0"),
    "openvla": Case(family="openvla"),
    "openvla-parallel": Case(family="openvla", decoding="parallel"),
}


def contract_of(*, horizon: int = 4, executed_steps: int = 4) -> Contract:
    """Return the compact contract with another chunk."""
    return replace(franka_compact(), horizon=horizon, executed_steps=executed_steps)


def normalisation_of(contract: Contract) -> Normalisation:
    """Return nominal statistics in which roll and pitch never move."""
    normal = nominal_normalisation(contract)
    std = tuple(0.0005 if i in STILL else s for i, s in enumerate(normal.action_std))
    return replace(normal, action_std=std)


def flow_config(case: Case, **changes: object) -> Pi05Config:
    """Return a tiny pi05 configuration."""
    config = Pi05Config(
        variant=case.variant,
        vision=VisionConfig(width=32, depth=1, heads=2, mlp=64, patch=16),
        prefix=TowerConfig(width=32, mlp=64, depth=2, heads=2, head_dim=16),
        expert=TowerConfig(width=32, mlp=64, depth=2, heads=2, head_dim=16),
        vocabulary=512,
        max_tokens=40,
        action_dim=10,
        denoising_steps=4,
        start="zero",
        exploration=case.exploration or FlowExploration(),
    )
    return replace(config, **changes)


def token_config(case: Case, **changes: object) -> OpenVlaConfig:
    """Return a tiny openvla configuration."""
    tower = ImageTowerConfig(width=32, depth=2, heads=2, mlp=64, patch=16)
    config = OpenVlaConfig(
        dino=tower,
        siglip=tower,
        llama=LlamaSizes(width=48, depth=2, heads=2, mlp=96, rows=832),
        vocabulary=800,
        empty_token=500,
        max_tokens=24,
        decoding=case.decoding,
    )
    return replace(config, **changes)


def make(name: str, *, contract: Contract | None = None, seed: int = 0) -> Policy:
    """Return the policy of a case, its zero-initialised layers filled so that all paths count."""
    case, contract = CASES[name], contract or contract_of()
    normal = normalisation_of(contract)
    torch.manual_seed(seed)
    if case.family == "compact":
        return CompactPolicy(contract, normal, CompactConfig())
    if case.family == "openvla":
        return OpenVlaPolicy(contract, normal, token_config(case)).eval()
    policy = Pi05Policy(contract, normal, flow_config(case)).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return policy


def observe(batch: int = 6, instruction: str = "pick up the cube", seed: int = 0) -> Observation:
    """Return random pictures and states."""
    rng = np.random.default_rng(seed)
    return Observation.from_numpy(
        {"third_person": rng.integers(0, 255, (batch, 64, 64, 3), dtype=np.uint8)},
        rng.normal(size=(batch, 10)).astype(np.float32),
        [instruction] * batch,
    )
