"""The network of OpenVLA: patches, prompt and action tokens in, token logits out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from rlco_trainer.policies.openvla.config import OpenVlaConfig
from rlco_trainer.policies.openvla.lora import add_adapters
from rlco_trainer.policies.openvla.tokens import action_ids
from rlco_trainer.policies.openvla.vision import FusedVision
from rlco_trainer.policies.stem import stem_of
from rlco_trainer.policies.tokenizers import WORDS, order_numbers

MASKED = -2.3819763e38
"""Added to the logits of what must not be attended to; also fits bfloat16."""
TokenChoice = Callable[[int, Tensor], Tensor]
"""Picks the tokens `(B,)` at a place from their logits `(B, scored)`."""


class VlaNetwork(nn.Module):
    """See `OpenVlaConfig`; knows tokens, nothing of contracts.

    A sequence is the begin token, the image patches, the rest of the prompt, the actions. Prompts
    of a batch are padded in front of their text, so that all end at the same place; positions and
    mask leave the padding out, so each item's numbers are those it would have alone.
    """

    def __init__(self, config: OpenVlaConfig, image_size: int, state_dim: int = 0) -> None:
        """Build random weights for square images of `image_size` pixels."""
        super().__init__()
        self.config = config
        llama = LlamaConfig(
            hidden_size=config.llama.width,
            intermediate_size=config.llama.mlp,
            num_hidden_layers=config.llama.depth,
            num_attention_heads=config.llama.heads,
            vocab_size=config.llama.rows,
            max_position_embeddings=4096,
            rms_norm_eps=1e-6,
            tie_word_embeddings=False,
            initializer_range=config.llama.width**-0.5,  # the library's 0.02 suits 4096 channels
        )
        llama._attn_implementation = config.attention
        self.vision = FusedVision(
            config.dino,
            config.siglip,
            config.llama.width,
            image_size,
            attention=config.attention,
            checkpointing=config.checkpointing,
            stem=stem_of(config.stem, state_dim),
        )
        self.language = LlamaForCausalLM(llama)
        self.actions = action_ids(config.vocabulary)
        if config.tokenizer == WORDS:
            for table in (self.language.get_input_embeddings(), self.language.lm_head):
                order_numbers(table.weight, self.actions[0])
        if config.checkpointing:
            self.language.activation_checkpointing_enable()
        if config.precision == "bfloat16":
            for parameter in self.parameters():  # not .to(): rotary buffers stay float32
                parameter.data = parameter.data.to(torch.bfloat16)
        if config.lora.rank:
            add_adapters(self, config.lora)

    def logits(
        self, patches: Tensor, tokens: Tensor, token_mask: Tensor, actions: Tensor
    ) -> Tensor:
        """Return the `(B, N, scored) float32` logits of each of N action tokens, in one pass.

        Args:
            patches: `(B, P, width)`, what `vision` returned.
            tokens: `(B, L) int64` prompt, begin token first, padding after it.
            token_mask: `(B, L) bool`, False at padding.
            actions: `(B, N) int64`; each token's logits depend on those before it. Only its shape
                counts where decoding is parallel.
        """
        x, mask = self._prompt(patches, tokens, token_mask)
        embedded = self.language.get_input_embeddings()(actions[:, :-1]).to(x.dtype)
        parallel = self.config.decoding == "parallel"
        x = torch.cat([x, torch.zeros_like(embedded) if parallel else embedded], 1)
        mask = torch.cat([mask, mask.new_ones(embedded.shape[:2])], 1)
        out = self.language.model(
            inputs_embeds=x,
            attention_mask=_additive(mask, x.dtype, causal=not parallel),
            position_ids=_positions(mask),
            use_cache=False,
        )
        hidden = out.last_hidden_state[:, -actions.shape[1] :]
        return self._scores(hidden)

    def generate(
        self,
        patches: Tensor,
        tokens: Tensor,
        token_mask: Tensor,
        choose: TokenChoice,
        count: int,
    ) -> Tensor:
        """Return `(B, count) int64` tokens, one after another with a key-value cache.

        Args:
            patches: `(B, P, width)`.
            tokens: `(B, L) int64` prompt.
            token_mask: `(B, L) bool`.
            choose: picks the next tokens from their logits.
            count: tokens to make.
        """
        x, mask = self._prompt(patches, tokens, token_mask)
        cache = DynamicCache(config=self.language.config)
        attends = _additive(mask, x.dtype, causal=True)
        positions = _positions(mask)
        chosen: list[Tensor] = []
        for place in range(count):
            out = self.language.model(
                inputs_embeds=x,
                attention_mask=attends,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            logits = self._scores(out.last_hidden_state[:, -1])
            chosen.append(choose(place, logits))
            x = self.language.get_input_embeddings()(chosen[-1][:, None]).to(x.dtype)
            positions = positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            attends = torch.where(mask[:, None, None], 0.0, MASKED).to(x.dtype)
        return torch.stack(chosen, 1)

    def _scores(self, hidden: Tensor) -> Tensor:
        """Return the logits of the tokens that are told apart: all, or those of actions."""
        head = self.language.lm_head
        if self.config.scored == "actions":
            first, end = self.actions
            return nn.functional.linear(hidden, head.weight[first:end]).float()
        logits: Tensor = head(hidden)
        return logits.float()

    def _prompt(self, patches: Tensor, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        words = self.language.get_input_embeddings()(tokens)
        x = torch.cat([words[:, :1], patches.to(words.dtype), words[:, 1:]], 1)
        seen = token_mask.new_ones(patches.shape[:2])
        return x, torch.cat([token_mask[:, :1], seen, token_mask[:, 1:]], 1)


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def _additive(mask: Tensor, dtype: torch.dtype, *, causal: bool) -> Tensor:
    """Return the `(B, 1, L, L)` mask to add to attention logits; `mask`: `(B, L) bool`."""
    L = mask.shape[1]
    attends = mask[:, None, :].expand(-1, L, -1)
    if causal:
        attends = attends & torch.ones(L, L, dtype=torch.bool, device=mask.device).tril()
    return torch.where(attends[:, None], 0.0, MASKED).to(dtype)
