"""How much GPU memory a preset takes in training: counted weights, estimated activations.

Weights, gradients and optimizer states are counted on the real architecture, without allocating
it. Activations are an estimate, in the manner of Korthikanti et al. 2022 (arXiv 2205.05198,
section 4) for gated layers and attention that stores no matrix; expect it within a third.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from rlco_datasets import spec
from rlco_datasets.contract import Contract
from torch import nn

from rlco_trainer.optimizers import BYTES_PER_NUMBER, HOST_BYTES_PER_NUMBER, Moments
from rlco_trainer.policies.families import build_network
from rlco_trainer.policies.openvla.config import OpenVlaConfig
from rlco_trainer.policies.pi05.config import Pi05Config
from rlco_trainer.policies.vision import image_size

GB = 1e9
OVERHEAD = 1.0, 0.1
"""CUDA's own memory, GB, and the allocator's waste, as a share."""
FLOAT32 = 4


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Memory of one training step; in GB of 1e9 bytes."""

    parameters: int
    trained: int
    batch: int
    weights_gb: float
    gradients_gb: float
    optimizer_gb: float
    activations_gb: float
    host_gb: float
    """Of Adam's moments that stay in the host's memory."""

    @property
    def total_gb(self) -> float:
        """Return everything together, with overhead."""
        parts = self.weights_gb + self.gradients_gb + self.optimizer_gb + self.activations_gb
        return OVERHEAD[0] + parts * (1 + OVERHEAD[1])

    def __str__(self) -> str:
        host = f", and {self.host_gb:.1f} GB of the host's memory" if self.host_gb else ""
        return (
            f"{self.parameters / 1e6:,.1f} M parameters, {self.trained / 1e6:,.1f} M trained; a "
            f"step of {self.batch} takes about {self.total_gb:.1f} GB (weights "
            f"{self.weights_gb:.1f}, gradients {self.gradients_gb:.1f}, Adam "
            f"{self.optimizer_gb:.1f}, activations {self.activations_gb:.1f}, the rest overhead)"
            f"{host}"
        )


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """Layers that keep what their backward pass needs of `tokens` tokens an item."""

    tokens: int
    depth: int
    width: int
    inner: int
    trained: bool

    def numbers(self, *, checkpointing: bool) -> int:
        """Return the numbers kept an item: norms, attention, feed-forward; or layer inputs."""
        if not self.trained:
            return 0
        layer = 8 * self.width + 4 * self.inner
        if checkpointing:
            return self.tokens * (self.depth * self.width + layer)
        return self.tokens * self.depth * layer


def estimate(
    family: str,
    architecture: dict[str, Any],
    contract: Contract,
    batch: int,
    *,
    moments: Moments = "fp32",
    train_trunk: bool = True,
) -> MemoryEstimate:
    """Return the memory of a step of `batch` samples with AdamW.

    `train_trunk` False leaves perception out, as stage II does unless told otherwise.

    Raises:
        FamilyError, SpecError: if family or architecture are unknown, or it is `compact`.
    """
    with torch.device("meta"):
        network = build_network(family, architecture, image_size(contract), contract.state_dim)
    where = f"{family} architecture"
    if family == "pi05":
        flow = spec.from_plain(Pi05Config, architecture, where=where)
        everything = flow.trained == "all" and train_trunk
        stacks, kept_bytes = _flow_stacks(flow, contract, everything), FLOAT32
        checkpointing = flow.checkpointing
        frozen: tuple[str, ...] = (
            () if everything else ("stem", "vision", "projector", "embed", "prefix")
        )
    else:
        vla = spec.from_plain(OpenVlaConfig, architecture, where=where)
        stacks, checkpointing = _vla_stacks(vla, contract, train_trunk), vla.checkpointing
        kept_bytes = 2 if vla.precision == "bfloat16" else FLOAT32
        frozen = () if train_trunk else ("vision",)
    for name, parameter in network.named_parameters():
        if name.startswith(frozen):
            parameter.requires_grad_(False)
    kept = sum(stack.numbers(checkpointing=checkpointing) for stack in stacks)
    trained = [p for p in network.parameters() if p.requires_grad]
    return MemoryEstimate(
        parameters=_count(network),
        trained=sum(p.numel() for p in trained),
        batch=batch,
        weights_gb=sum(p.numel() * p.element_size() for p in network.parameters()) / GB,
        gradients_gb=sum(p.numel() * p.element_size() for p in trained) / GB,
        optimizer_gb=sum(p.numel() for p in trained) * BYTES_PER_NUMBER[moments] / GB,
        activations_gb=batch * kept * kept_bytes / GB,
        host_gb=sum(p.numel() for p in trained) * HOST_BYTES_PER_NUMBER[moments] / GB,
    )


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _flow_stacks(config: Pi05Config, contract: Contract, everything: bool) -> tuple[_Stack, ...]:
    patches = (image_size(contract) // config.vision.patch) ** 2 * len(contract.cameras)
    v, p, e = config.vision, config.prefix, config.expert
    return (
        _Stack(tokens=patches, depth=v.depth, width=v.width, inner=v.mlp, trained=everything),
        _Stack(
            tokens=patches + config.max_tokens,
            depth=p.depth,
            width=p.width,
            inner=p.mlp,
            trained=everything,
        ),
        _Stack(tokens=contract.horizon, depth=e.depth, width=e.width, inner=e.mlp, trained=True),
    )


def _vla_stacks(config: OpenVlaConfig, contract: Contract, towers_too: bool) -> tuple[_Stack, ...]:
    patches = (image_size(contract) // config.dino.patch) ** 2 * len(contract.cameras)
    towers = tuple(
        _Stack(tokens=patches, depth=t.depth, width=t.width, inner=t.mlp, trained=towers_too)
        for t in (config.dino, config.siglip)
    )
    words = patches + config.max_tokens + 7 * contract.horizon
    llama = config.llama
    return (
        *towers,
        _Stack(tokens=words, depth=llama.depth, width=llama.width, inner=llama.mlp, trained=True),
    )
