"""The network of pi0.5 (and pi0): images and prompt to a memory, memory and noise to a velocity."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers.models.siglip.configuration_siglip import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from rlco_trainer.policies.pi05.config import Pi05Config
from rlco_trainer.policies.pi05.gemma import Memory, Tower
from rlco_trainer.policies.stem import STRIDE, stem_of
from rlco_trainer.policies.tokenizers import FIRST_NUMBER, WORDS, order_numbers

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0
"""Periods of the sines that encode flow time."""


class FlowNetwork(nn.Module):
    """See `Pi05Config`; knows tokens and scaled actions, nothing of contracts."""

    def __init__(self, config: Pi05Config, image_size: int, state_dim: int = 0) -> None:
        """Build random weights for square images of `image_size` pixels.

        Raises:
            ValueError: if the patches do not tile the image.
        """
        super().__init__()
        if image_size % config.vision.patch:
            raise ValueError(
                f"images of {image_size} px are not tiled by patches of {config.vision.patch} px"
            )
        self.config = config
        width, pi05 = config.expert.width, config.variant == "pi05"
        self.stem = stem_of(config.vision.stem, state_dim)
        channels, stride = (3, 1) if self.stem is None else (self.stem.out_channels, STRIDE)
        vision = SiglipVisionConfig(
            hidden_size=config.vision.width,
            intermediate_size=config.vision.mlp,
            num_hidden_layers=config.vision.depth,
            num_attention_heads=config.vision.heads,
            num_channels=channels,
            image_size=image_size // stride,
            patch_size=config.vision.patch // stride,
            hidden_act="gelu_pytorch_tanh",
            vision_use_head=False,
        )
        vision._attn_implementation = config.attention
        self.vision = SiglipVisionModel(vision)
        if config.checkpointing:
            self.vision.activation_checkpointing_enable()
        self.projector = nn.Linear(config.vision.width, config.prefix.width)
        self.embed = nn.Embedding(config.vocabulary, config.prefix.width)
        nn.init.normal_(self.embed.weight, std=config.prefix.width**-0.5)
        if config.tokenizer == WORDS:
            order_numbers(self.embed.weight, FIRST_NUMBER)
        self.prefix, self.expert = (
            Tower(
                tower,
                adaptive=adaptive,
                attention=config.attention,
                checkpointing=config.checkpointing,
            )
            for tower, adaptive in ((config.prefix, False), (config.expert, pi05))
        )
        self.action_in = nn.Linear(config.action_dim, width)
        self.action_out = nn.Linear(width, config.action_dim)
        self.time_in = nn.Linear(width if pi05 else 2 * width, width)
        self.time_out = nn.Linear(width, width)
        self.state_in = None if pi05 else nn.Linear(config.action_dim, width)
        if config.precision == "bfloat16":
            for module in (self.vision, self.projector, self.embed, self.prefix):
                for parameter in module.parameters():  # not .to(): rotary buffers stay float32
                    parameter.data = parameter.data.to(torch.bfloat16)

    def remember(
        self, images: Tensor, image_mask: Tensor, tokens: Tensor, token_mask: Tensor
    ) -> Memory:
        """Run the prefix.

        Args:
            images: `(B, N, 3, S, S) float32` in [-1, 1], one of N slots each, or with a stem the
                `(B, N, F)` summaries that it made of them.
            image_mask: `(B, N) bool`, False where a slot is empty.
            tokens: `(B, L) int64`.
            token_mask: `(B, L) bool`, False at padding.
        """
        B, N = images.shape[:2]
        pictures = images.flatten(0, 1)
        pictures = pictures if self.stem is None else self.stem.picture(pictures)
        features = self.projector(self.vision(pictures).last_hidden_state)
        features = features.unflatten(0, (B, N))
        mask = image_mask[:, :, None].expand(B, N, features.shape[2]).flatten(1)
        mask = torch.cat([mask, token_mask], 1)
        words = self.embed(tokens) * math.sqrt(self.config.prefix.width)
        x = torch.cat([features.flatten(1, 2), words.to(features.dtype)], 1)
        attends = mask[:, None, :] & mask[:, :, None]
        keys, values = self.prefix.memory(x, mask.long().cumsum(1) - 1, attends)
        return Memory(keys=keys, values=values, mask=mask)

    def velocity(
        self, memory: Memory, x_t: Tensor, t: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the expert.

        Several chunks of one observation share its memory: they are read side by side, and none
        sees the others.

        Args:
            memory: what `remember` returned of B observations.
            x_t: `(B * D, H, A) float32`, partly noise; D chunks in a row are of one observation.
            t: `(B * D,) float32`, 1 is all noise and 0 none.
            state: `(B, A) float32`, scaled; for `pi0` only.

        Returns:
            The velocity noise - action, `(B * D, H, A)`, and the expert's features `(B * D, H, C)`.
        """
        B, H = len(memory.mask), x_t.shape[1]
        D = len(x_t) // B
        x, time = self.action_in(x_t), time_features(t, self.config.expert.width)
        condition = None
        if self.state_in is None:
            condition = F.silu(self.time_out(F.silu(self.time_in(time)))).unflatten(0, (B, D))
            x = x.reshape(B, D * H, -1)
        else:
            mixed = torch.cat([x, time[:, None].expand_as(x)], 2)
            x = self.time_out(F.silu(self.time_in(mixed)))
            x = x.reshape(B, D * H, -1)
            x = torch.cat([self.state_in(state)[:, None], x], 1)
        L = x.shape[1]
        first = L - D * H  # 1 with a state token, which all chunks see and which sees none
        chunk = torch.arange(D, device=x.device).repeat_interleave(H)
        own = torch.ones(L, L, dtype=torch.bool, device=x.device)
        own[:first, first:] = False
        own[first:, first:] = chunk[:, None] == chunk
        place = torch.arange(H, device=x.device).repeat(D) + first
        place = torch.cat([torch.arange(first, device=x.device), place])
        attends = torch.cat([memory.mask[:, None].expand(-1, L, -1), own.expand(B, -1, -1)], 2)
        positions = memory.mask.sum(1, keepdim=True) + place
        hidden, _, _ = self.expert(x, positions, attends, past=memory, condition=condition)
        hidden = hidden[:, first:].reshape(B * D, H, -1).float()
        return cast(Tensor, self.action_out(hidden)).float(), hidden


def time_features(t: Tensor, width: int) -> Tensor:
    """Return sines and cosines of flow time, `(B,)` to `(B, width)`; float64 inside."""
    fraction = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64, device=t.device)
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
    angle = t[:, None].double() * (2 * math.pi / period)
    return torch.cat([angle.sin(), angle.cos()], 1).to(t.dtype)
