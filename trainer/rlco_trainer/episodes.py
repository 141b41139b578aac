"""What learner and rollout workers exchange: plain arrays and dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import InitialCondition
from rlco_datasets.statistics import Normalisation
from safetensors.torch import load, save

from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.interface import Policy

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PolicyPackage:
    """A policy as plain data, to send to a worker."""

    family: str
    contract: Contract
    normalisation: Normalisation
    architecture: dict[str, Any]
    weights: bytes
    """The state dict as safetensors."""
    trunk_frozen: bool

    @staticmethod
    def of(policy: Policy) -> PolicyPackage:
        """Pack a policy; the arrays are copies."""
        return PolicyPackage(
            family=policy.family,
            contract=policy.contract,
            normalisation=policy.normalisation,
            architecture=policy.architecture(),
            weights=save(
                {k: v.detach().cpu().contiguous() for k, v in policy.state_dict().items()}
            ),
            trunk_frozen=policy.trunk_frozen,
        )

    def unpack(self) -> Policy:
        """Return the policy, in evaluation mode."""
        policy = build_policy(self.family, self.contract, self.normalisation, self.architecture)
        policy.load_state_dict(load(self.weights))
        if self.trunk_frozen:
            policy.freeze_trunk()
        return policy.eval()


@dataclass(frozen=True, kw_only=True)
class EpisodeRequest:
    """Which episodes a worker is to run, and how."""

    policy: PolicyPackage
    task: str
    conditions: tuple[InitialCondition, ...]
    instruction: str
    max_steps: int
    explore: bool
    seed: int = 0
    """Seed of the exploration noise."""
    shaping: float = 0.0
    """Weight of the task's reward as a potential (Ng et al. 1999); keeps the optimum."""
    gamma: float = 1.0
    """Discount per chunk of the shaping potential."""
    keep_last_features: bool = False
    """Also encode what followed each episode's last chunk, for a critic that reads features."""
    randomised: bool = False
    """In benches drawn within the twin's uncertainties, rather than in the twin itself."""


@dataclass(frozen=True, kw_only=True)
class EpisodeOutcome:
    """How one episode ended."""

    condition: str
    success: bool
    steps: int
    milestone: str


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What PPO needs of finished episodes; the chunks of one episode follow each other.

    N chunks in E episodes: `features` name -> `(N, ...)`, `latent (N, ...)`, `log_prob (N,)`,
    `privileged (N, P)`, `reward (N,)`, `lengths (E,)` in chunks, `terminated (E,)`,
    `last_privileged (E, P)` and, where asked for, `last_features` name -> `(E, ...)`: what followed
    the last chunk.
    """

    features: dict[str, NDArray[Any]]
    latent: NDArray[Any]
    log_prob: Floats
    privileged: Floats
    reward: Floats
    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    last_privileged: Floats
    last_features: dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class EpisodeReport:
    """A worker's answer, in the order of the request's conditions."""

    outcomes: tuple[EpisodeOutcome, ...]
    experience: Experience | None
    """None where nothing was explored."""
    seconds: dict[str, float]
    """Time spent in `simulation`, `rendering` and `inference`."""


def joined(parts: Sequence[Experience]) -> Experience:
    """Return the experience of several workers as one."""

    def join(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def join_named(name: str) -> dict[str, NDArray[Any]]:
        named = [getattr(part, name) for part in parts]
        return {key: np.concatenate([item[key] for item in named]) for key in named[0]}

    return Experience(
        features=join_named("features"),
        latent=join("latent"),
        log_prob=join("log_prob"),
        privileged=join("privileged"),
        reward=join("reward"),
        lengths=join("lengths"),
        terminated=join("terminated"),
        last_privileged=join("last_privileged"),
        last_features=join_named("last_features"),
    )
