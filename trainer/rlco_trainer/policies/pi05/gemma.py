"""Gemma towers that read another tower's keys and values, with adaptive norms for the expert.

The expert attends to the prefix and never the other way round. So the prefix runs once, keeps the
keys and values of every layer, and each denoising step costs the expert alone; training takes the
same path, with gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.models.gemma.configuration_gemma import GemmaConfig
from transformers.models.gemma.modeling_gemma import (
    GemmaAttention,
    GemmaMLP,
    GemmaRMSNorm,
    GemmaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from rlco_trainer.policies.pi05.config import TowerConfig

MASKED = -2.3819763e38
"""Added to the logits of what must not be attended to; also fits bfloat16."""
NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Keys and values of every layer of the prefix.

    `keys`, `values`: one `(B, kv_heads, P, head_dim)` a layer. `mask`: `(B, P) bool`, False at
    padding and at empty image slots.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor

    def stacked(self) -> Tensor:
        """Return all keys and values as `(B, 2, depth, kv_heads, P, head_dim)`."""
        return torch.stack([torch.stack(self.keys, 1), torch.stack(self.values, 1)], 1)

    @staticmethod
    def unstacked(both: Tensor, mask: Tensor) -> Memory:
        """Undo `stacked`."""
        keys, values = both.unbind(1)
        return Memory(keys=keys.unbind(1), values=values.unbind(1), mask=mask)


class AdaptiveRMSNorm(nn.Module):
    """RMS norm whose scale, shift and residual gate come from a condition (pi0.5's time)."""

    def __init__(self, width: int) -> None:
        """Start as a norm without scale, shift or residual: the projection is zero."""
        super().__init__()
        self.dense = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the modulated `(B, L, C)` and its gate; `condition`: `(B, D, C)`.

        Each of the D conditions is that of L / D tokens in a row.
        """
        modulation = self.dense(condition.to(self.dense.weight.dtype))
        if condition.shape[1] > 1:
            modulation = modulation.repeat_interleave(x.shape[1] // condition.shape[1], 1)
        scale, shift, gate = modulation.chunk(3, -1)
        normed = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + NORM_EPS)
        return (normed * (1 + scale.float()) + shift.float()).to(x.dtype), gate.to(x.dtype)


class _LayerCache:
    """What `GemmaAttention` takes for a key-value cache: past keys in, all keys out."""

    def __init__(self, past: tuple[Tensor, Tensor] | None) -> None:
        self.past = past
        self.own: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        self.own = keys, values
        if self.past is None:
            return keys, values
        past_keys, past_values = self.past[0].to(keys.dtype), self.past[1].to(values.dtype)
        return torch.cat([past_keys, keys], 2), torch.cat([past_values, values], 2)


class Block(nn.Module):
    """One Gemma layer; with adaptive norms, its residual branches are gated."""

    def __init__(self, config: GemmaConfig, layer: int, *, adaptive: bool) -> None:
        """Build random weights."""
        super().__init__()
        self.self_attn = GemmaAttention(config, layer)
        self.mlp = GemmaMLP(config)
        self.input_layernorm = _norm(config.hidden_size, adaptive=adaptive)
        self.post_attention_layernorm = _norm(config.hidden_size, adaptive=adaptive)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor,
        past: tuple[Tensor, Tensor] | None,
        condition: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the `(B, L, C)` output and this layer's own keys and values."""
        cache = _LayerCache(past)
        y, gate = _normed(self.input_layernorm, x, condition)
        y, _ = self.self_attn(
            y, position_embeddings=rotary, attention_mask=mask, past_key_values=cache
        )
        x = x + (y if gate is None else y * gate)
        y, gate = _normed(self.post_attention_layernorm, x, condition)
        y = self.mlp(y)
        assert cache.own is not None
        return x + (y if gate is None else y * gate), *cache.own

    def keys_values(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what `forward` returns of `(B, L, C)` tokens' keys and values, and no more."""
        y, _ = _normed(self.input_layernorm, x, None)
        shape = (*y.shape[:-1], -1, self.self_attn.head_dim)
        keys = self.self_attn.k_proj(y).view(shape).transpose(1, 2)
        values = self.self_attn.v_proj(y).view(shape).transpose(1, 2)
        return apply_rotary_pos_emb(keys, keys, *rotary)[1], values


class Tower(nn.Module):
    """A stack of Gemma layers and its final norm."""

    def __init__(
        self, config: TowerConfig, *, adaptive: bool, attention: str, checkpointing: bool
    ) -> None:
        """Build random weights."""
        super().__init__()
        gemma = GemmaConfig(
            hidden_size=config.width,
            intermediate_size=config.mlp,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            hidden_act="gelu_pytorch_tanh",
            rms_norm_eps=NORM_EPS,
        )
        gemma._attn_implementation = attention
        self.layers = nn.ModuleList(
            [Block(gemma, layer, adaptive=adaptive) for layer in range(config.depth)]
        )
        self.norm = _norm(config.width, adaptive=adaptive)
        self.rotary = GemmaRotaryEmbedding(gemma)
        self.checkpointing = checkpointing

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        attends: Tensor,
        *,
        past: Memory | None = None,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run all layers.

        Args:
            x: `(B, L, C)` tokens.
            positions: `(B, L) int64`.
            attends: `(B, L, P + L) bool`, what each token may look at; P is 0 without `past`.
            past: the keys and values in front of the tokens.
            condition: `(B, D, C)`, for adaptive norms: each that of L / D tokens in a row.

        Returns:
            The `(B, L, C)` output, and keys and values of the tokens, one a layer.
        """
        mask = torch.where(attends[:, None], 0.0, MASKED).to(x.dtype)
        rotary = self.rotary(x, positions)
        keys, values = [], []
        for layer, block in enumerate(self.layers):
            before = None if past is None else (past.keys[layer], past.values[layer])
            x, key, value = self._run(block, x, rotary, mask, before, condition)
            keys.append(key)
            values.append(value)
        return _normed(self.norm, x, condition)[0], tuple(keys), tuple(values)

    def memory(
        self, x: Tensor, positions: Tensor, attends: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return keys and values alone, as `forward` would; the last layer's output is not made."""
        mask = torch.where(attends[:, None], 0.0, MASKED).to(x.dtype)
        rotary = self.rotary(x, positions)
        keys, values = [], []
        for block in self.layers[:-1]:
            x, key, value = self._run(block, x, rotary, mask, None, None)
            keys.append(key)
            values.append(value)
        last = self.layers[-1]
        assert isinstance(last, Block)
        key, value = last.keys_values(x, rotary)
        return (*keys, key), (*values, value)

    def _run(self, block: nn.Module, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        done: tuple[Tensor, Tensor, Tensor]
        if self.checkpointing and self.training and torch.is_grad_enabled():
            done = checkpoint(block, *arguments, use_reentrant=False)
        else:
            done = block(*arguments)
        return done


def _norm(width: int, *, adaptive: bool) -> nn.Module:
    return AdaptiveRMSNorm(width) if adaptive else GemmaRMSNorm(width, eps=NORM_EPS)


def _normed(norm: nn.Module, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if isinstance(norm, AdaptiveRMSNorm):
        modulated: tuple[Tensor, Tensor] = norm(x, condition)
        return modulated
    return norm(x), None
