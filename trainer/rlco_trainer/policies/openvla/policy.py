"""The `openvla` family as a policy: contract units outside, tokens inside."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from rlco_datasets import spec
from rlco_datasets.contract import ACTION_DIM, Contract
from rlco_datasets.statistics import Normalisation
from torch import Tensor, nn

from rlco_trainer.losses import token_cross_entropy, token_log_prob
from rlco_trainer.policies.interface import (
    Decision,
    Features,
    Observation,
    Policy,
    clip_to_contract,
)
from rlco_trainer.policies.openvla.config import OpenVlaConfig
from rlco_trainer.policies.openvla.network import VlaNetwork
from rlco_trainer.policies.openvla.tokens import (
    action_ids,
    decode_actions,
    encode_actions,
    neighbours,
    prompts,
)
from rlco_trainer.policies.quantiles import STATE_FLOOR, QuantileScale
from rlco_trainer.policies.stem import Stem
from rlco_trainer.policies.tokenizers import load_tokenizer, padded, without_padding
from rlco_trainer.policies.vision import image_size, seen, stacked

ACTION_FLOOR = 0.002
"""Least q01-to-q99 range of an action (m or rad a step)."""
EPSILON = 1e-8
"""What the public code adds to a range."""
GRIPPER = ACTION_DIM - 1


class OpenVlaPolicy(Policy):
    """See `OpenVlaConfig`; `architecture()` returns it as plain data.

    A chunk is `horizon * 7` tokens, one step after another; a contract with horizon 1 is the
    published model. Tokens are drawn among the 256 action ids only.
    """

    family: ClassVar[str] = "openvla"
    drawn: Tensor
    executed: Tensor
    still_tokens: Tensor
    spread: Tensor | None

    def __init__(
        self, contract: Contract, normalisation: Normalisation, config: OpenVlaConfig
    ) -> None:
        """Build random weights.

        Raises:
            ValueError: if images and patches do not fit, or no action dimension moves.
            TokenizerError: if the tokenizer cannot be loaded.
        """
        super().__init__(contract, normalisation)
        self.config = config
        self.tokenizer = load_tokenizer(
            config.tokenizer,
            words=config.empty_token,
            rows=config.llama.rows,
        )
        self.network = VlaNetwork(config, image_size(contract), contract.state_dim)
        n = normalisation
        # The gripper passes through unscaled: our 0 to 1, as the published data's.
        low, high = (*n.action_q01[:GRIPPER], -1.0), (*n.action_q99[:GRIPPER], 1.0)
        self.scale = QuantileScale(low, high, floor=ACTION_FLOOR, epsilon=EPSILON)
        self.uses_state = bool(config.stem)
        self.state_scale = QuantileScale(
            n.state_q01, n.state_q99, floor=STATE_FLOOR, epsilon=EPSILON
        )
        active = torch.tensor(n.action_std) > config.still_std
        if not bool(active.any()):
            raise ValueError(
                f"no action dimension moves: the demonstrated std {n.action_std} is nowhere above "
                f"still_std {config.still_std}. Check the stores."
            )
        executed = torch.arange(contract.horizon) < contract.executed_steps
        still = encode_actions(self.scale(torch.tensor(n.action_mean)), config.vocabulary)
        drawn = active.repeat(contract.horizon)
        self.register_buffer("drawn", drawn, persistent=False)
        self.register_buffer(
            "executed", drawn & executed.repeat_interleave(ACTION_DIM), persistent=False
        )
        self.register_buffer("still_tokens", still.repeat(contract.horizon), persistent=False)
        spread = neighbours(config.neighbour_bins) if config.neighbour_bins > 0 else None
        self.register_buffer("spread", spread, persistent=False)
        self._logits = torch.compile(self.network.logits) if config.compile else self.network.logits

    def architecture(self) -> dict[str, Any]:
        """Return the `OpenVlaConfig` as plain data."""
        return spec.to_plain(self.config)

    def trunk(self) -> tuple[nn.Module, ...]:
        """Return both image towers and the projector."""
        return (self.network.vision,)

    def stem(self) -> Stem | None:
        """Return the convolutions in front of both towers, if there are any."""
        return self.network.vision.stem

    @torch.no_grad()
    def encode(self, observation: Observation) -> Features:
        """Return prompt ids and images or, once frozen, the patches that Llama reads.

        With the stem alone frozen, its summaries stand for the images.
        """
        empty = [self.config.empty_token]
        ids = [self.tokenizer.encode(text) + empty for text in prompts(observation.instructions)]
        tokens, mask = _prompt_batch(ids, self.config.max_tokens)
        features = {"tokens": tokens, "token_mask": mask}
        names = self.contract.camera_names
        state = self.state_scale(observation.state.to(self.drawn.device))
        images = seen(observation.images, names, self.stem(), state, frozen=self.stem_frozen)
        if not self.trunk_frozen:
            return features | images
        patches = self._patches(images)
        kept = patches.view(torch.int16) if patches.dtype == torch.bfloat16 else patches
        return features | {"patches": kept}

    def sft_loss(self, features: Features, actions: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over the tokens `scored`, of executed steps and moving dimensions."""
        device = self.drawn.device
        target = self._tokens_of(actions.to(device))
        weight = mask.to(device).repeat_interleave(ACTION_DIM, 1) & self.executed
        if not self.config.compile:  # which would compile for each length
            features = without_padding(features)
        logits = self._sequence_logits(features, target)
        if self.config.scored == "actions":
            target = target - action_ids(self.config.vocabulary)[0]
        return token_cross_entropy(logits, target, weight, self.spread)

    @torch.no_grad()
    def act(self, features: Features, generator: torch.Generator) -> Decision:
        """Draw action tokens; the log-probability is that of one pass over all of them."""
        tokens = self._choose(features, generator)
        log_prob, _ = self.evaluate_actions(features, tokens)
        return Decision(actions=self._to_contract(tokens), latent=tokens, log_prob=log_prob)

    def evaluate_actions(self, features: Features, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of the tokens that were drawn and executed."""
        tokens = latent.to(self.drawn.device)
        first, _ = action_ids(self.config.vocabulary)
        logits = self._among(self._sequence_logits(features, tokens)) / self.config.temperature
        return token_log_prob(logits, tokens - first, self.executed.expand(tokens.shape))

    def _among(self, logits: Tensor) -> Tensor:
        """Return the logits of the 256 action tokens, of `(..., scored)`."""
        if self.config.scored == "actions":
            return logits
        first, end = action_ids(self.config.vocabulary)
        return logits[..., first:end]

    @torch.no_grad()
    def value_features(self, features: Features) -> Tensor:
        """Return the mean of the image patches and of the prompt's embeddings."""
        patches, tokens, mask = self.read(features)
        words = self.network.language.get_input_embeddings()(tokens).float()
        weight = mask[..., None].float()
        prompt = (words * weight).sum(1) / weight.sum(1)
        return torch.cat([patches.float().mean(1), prompt], 1)

    @torch.no_grad()
    def best_actions(self, features: Features) -> Tensor:
        """Return the chunk of the tokens that `decision` asks for."""
        return self._to_contract(self._choose(features, None))

    def _choose(self, features: Features, generator: torch.Generator | None) -> Tensor:
        """Return `(B, horizon * 7)` tokens: sampled, or without a generator decided."""
        first, _ = action_ids(self.config.vocabulary)

        def choose(place: int, logits: Tensor) -> Tensor:
            if not self.drawn[place]:
                return self.still_tokens[place].expand(len(logits))
            among = self._among(logits)
            if generator is None:
                return first + self._decided(among)
            shares = (among / self.config.temperature).softmax(1).cpu()
            return first + torch.multinomial(shares, 1, generator=generator)[:, 0].to(among.device)

        patches, tokens, mask = self.read(features)
        count = len(self.drawn)
        if self.config.decoding == "autoregressive":
            return self.network.generate(patches, tokens, mask, choose, count)
        empty = self.still_tokens.expand(len(tokens), -1)
        logits = self._logits(patches, tokens, mask, empty)
        return torch.stack([choose(place, logits[:, place]) for place in range(count)], 1)

    def _decided(self, logits: Tensor) -> Tensor:
        """Return the bin `(B,)` that deployment takes, of logits `(B, 256)` over ordered bins."""
        if self.config.decision == "likeliest":
            return logits.argmax(1)
        return (logits.softmax(1).cumsum(1) < 0.5).sum(1).clamp(max=logits.shape[1] - 1)

    def _sequence_logits(self, features: Features, actions: Tensor) -> Tensor:
        patches, tokens, mask = self.read(features)
        logits: Tensor = self._logits(patches, tokens, mask, actions)
        return logits

    def read(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return patches `(B, P, width)`, prompt ids `(B, L)` and their mask, on the device."""
        device = self.drawn.device
        tokens, mask = features["tokens"].to(device), features["token_mask"].to(device)
        kept = features.get("patches")
        if kept is None:
            return self._patches(features), tokens, mask
        kept = kept.to(device)
        return (kept.view(torch.bfloat16) if kept.dtype == torch.int16 else kept), tokens, mask

    def _patches(self, images: Features) -> Tensor:
        device = self.drawn.device
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.trunk_frozen):
            pixels = stacked(images, self.contract.camera_names, self.stem(), device)
            patches: Tensor = self.network.vision(pixels)
        return patches

    def _tokens_of(self, actions: Tensor) -> Tensor:
        """Return the `(B, horizon * 7)` tokens of contract actions; still dimensions are fixed."""
        tokens = encode_actions(self.scale(actions), self.config.vocabulary).flatten(1)
        return torch.where(self.drawn, tokens, self.still_tokens)

    def _to_contract(self, tokens: Tensor) -> Tensor:
        scaled = decode_actions(tokens, self.config.vocabulary)
        actions = self.scale.inverse(scaled.unflatten(1, (-1, ACTION_DIM)))
        return clip_to_contract(actions, self.contract)


def _prompt_batch(ids: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask with the begin token first and padding between it and the text."""
    text, mask = padded([row[1:] for row in ids], length - 1, left=True)
    begin = torch.tensor([[row[0]] for row in ids])
    return torch.cat([begin, text], 1), torch.cat(
        [torch.ones_like(begin, dtype=torch.bool), mask], 1
    )
