"""Named architectures: what `rlco-train init --preset NAME` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlco_datasets import spec
from rlco_datasets.contract import Contract
from rlco_datasets.statistics import Normalisation

from rlco_trainer.policies import public_weights
from rlco_trainer.policies.compact import CompactConfig
from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.interface import Policy
from rlco_trainer.policies.openvla.config import (
    ImageTowerConfig,
    LlamaSizes,
    LoraConfig,
    OpenVlaConfig,
)
from rlco_trainer.policies.pi05.config import (
    FlowExploration,
    Pi05Config,
    TowerConfig,
    VisionConfig,
)

STEM = (16, 32, 32)
"""Convolutions in front of the tiny presets' image towers."""
Architecture = CompactConfig | OpenVlaConfig | Pi05Config


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A family, its sizes, and what they are for."""

    family: str
    build: Callable[[], Architecture]
    purpose: str

    def architecture(self) -> dict[str, Any]:
        """Return the sizes as plain data."""
        return spec.to_plain(self.build())


def _pi05_tiny() -> Pi05Config:
    def tower(width: int, mlp: int) -> TowerConfig:
        return TowerConfig(width=width, mlp=mlp, depth=2, heads=4, head_dim=32)

    return Pi05Config(
        vision=VisionConfig(width=96, depth=2, heads=4, mlp=192, patch=32, stem=STEM),
        prefix=tower(96, 192),
        expert=tower(96, 192),
        vocabulary=1024,
        max_tokens=40,
        state_in_prompt=False,
        action_dim=8,
        denoising_steps=1,
        start="zero",
        times="visited",
        draws=4,
        exploration=FlowExploration(noisy_steps="last"),
    )


def _pi05_3b(trained: str) -> Pi05Config:
    return Pi05Config(
        tokenizer="google/paligemma-3b-pt-224",
        denoising_steps=4,
        trained="expert" if trained == "expert" else "all",
        cache_memory=False,
        precision="bfloat16" if trained == "expert" else "float32",
        compile=True,
        checkpointing=True,
    )


def _openvla_tiny() -> OpenVlaConfig:
    tower = ImageTowerConfig(width=96, depth=3, heads=4, mlp=192, patch=32)
    return OpenVlaConfig(
        dino=tower,
        siglip=tower,
        stem=STEM,
        llama=LlamaSizes(width=96, depth=2, heads=4, mlp=192, rows=1088),
        vocabulary=1024,
        empty_token=767,
        decoding="parallel",
        scored="actions",
        decision="median",
        neighbour_bins=4.0,
        max_tokens=32,
    )


def _openvla_7b(*, checkpointing: bool) -> OpenVlaConfig:
    return OpenVlaConfig(
        tokenizer="openvla/openvla-7b",
        lora=LoraConfig(rank=32),
        precision="bfloat16",
        compile=not checkpointing,
        checkpointing=checkpointing,
    )


PRESETS = {
    "compact": Preset(
        family="compact", build=CompactConfig, purpose="minutes on a laptop; checks a bench"
    ),
    "pi05-tiny": Preset(
        family="pi05", build=_pi05_tiny, purpose="the code path of pi05-3b on two cores"
    ),
    "pi05-3b": Preset(
        family="pi05", build=lambda: _pi05_3b("all"), purpose="pi0.5, all weights; 80 GB"
    ),
    "pi05-3b-24gb": Preset(
        family="pi05", build=lambda: _pi05_3b("expert"), purpose="pi0.5, action expert alone; 24 GB"
    ),
    "openvla-tiny": Preset(
        family="openvla", build=_openvla_tiny, purpose="the code path of openvla-7b on two cores"
    ),
    "openvla-7b": Preset(
        family="openvla",
        build=lambda: _openvla_7b(checkpointing=False),
        purpose="OpenVLA with adapters of rank 32; 80 GB",
    ),
    "openvla-7b-24gb": Preset(
        family="openvla",
        build=lambda: _openvla_7b(checkpointing=True),
        purpose="the same, recomputing layers, in small batches; 24 GB",
    ),
}


def preset_named(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        SpecError: if there is none.
    """
    if name not in PRESETS:
        raise spec.SpecError(f"preset {name!r} is unknown; choose from {sorted(PRESETS)}")
    return PRESETS[name]


def new_policy(
    name: str, contract: Contract, normalisation: Normalisation, *, tokenizer: str = ""
) -> Policy:
    """Return a random policy of the preset `name`; `tokenizer` replaces the preset's.

    Raises:
        SpecError: if the preset is unknown, or does not fit the contract.
    """
    preset = preset_named(name)
    architecture = preset.architecture()
    if tokenizer:
        if "tokenizer" not in architecture:
            raise spec.SpecError(f"preset {name!r} has no tokenizer; leave --tokenizer out")
        architecture["tokenizer"] = tokenizer
    try:
        return build_policy(preset.family, contract, normalisation, architecture)
    except ValueError as error:
        raise spec.SpecError(f"preset {name!r}, contract {contract.name!r}: {error}") from error


def load_public(policy: Policy, path: Path) -> None:
    """Load a public checkpoint into the policy's network.

    Raises:
        WeightsError: if the family has no public checkpoint, or it does not fit.
    """
    tensors = public_weights.read_tensors(path)
    if policy.family == "pi05":
        from rlco_trainer.policies.pi05.policy import Pi05Policy
        from rlco_trainer.policies.pi05.weights import from_public

        assert isinstance(policy, Pi05Policy)
        public_weights.load_exactly(policy.network, from_public(tensors), where=str(path))
    elif policy.family == "openvla":
        from rlco_trainer.policies.openvla.lora import under_adapters
        from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
        from rlco_trainer.policies.openvla.weights import from_public as from_openvla

        assert isinstance(policy, OpenVlaPolicy)
        config = policy.config
        depths = {"dino": config.dino.depth, "siglip": config.siglip.depth}
        ours = under_adapters(policy.network, from_openvla(tensors, depths=depths))
        public_weights.load_exactly(policy.network, ours, where=str(path))
    else:
        raise public_weights.WeightsError(f"family {policy.family!r} has no public checkpoint")
