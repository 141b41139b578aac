"""Low-rank adapters of image towers, projector and language model, by peft."""

from __future__ import annotations

import peft
import torch
from torch import Tensor, nn

from rlco_trainer.policies.openvla.config import LoraConfig

ADAPTER = "lora_"
OUTPUT = "lm_head"


def add_adapters(network: nn.Module, config: LoraConfig) -> None:
    """Give every linear layer but the output an adapter, and freeze everything else in place.

    The adapters start as no change: their second factor is zero. They are float32 whatever the
    weights are, since small updates vanish in bfloat16.
    """
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0,
        target_modules=[
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.Linear) and not name.endswith(OUTPUT)
        ],
        init_lora_weights="gaussian",
    )
    peft.inject_adapter_in_model(settings, network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(ADAPTER in name)
        if ADAPTER in name:
            parameter.data = parameter.data.to(torch.float32)


def under_adapters(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names that adapters give them, with the adapters as they are now."""
    own = dict(network.named_parameters())
    bare = {name.replace(".base_layer.", "."): name for name in own if ADAPTER not in name}
    adapters = {name: tensor.detach() for name, tensor in own.items() if ADAPTER in name}
    return {bare.get(name, name): tensor for name, tensor in tensors.items()} | adapters
