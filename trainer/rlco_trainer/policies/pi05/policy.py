"""The `pi05` family as a policy: contract units outside, tokens and scaled actions inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import ACTION_DIM, Contract
from rlco_datasets.statistics import Normalisation
from torch import Tensor, nn

from rlco_trainer.losses import flow_matching
from rlco_trainer.policies.interface import (
    Decision,
    Features,
    Observation,
    Policy,
    clip_to_contract,
    require_observation,
)
from rlco_trainer.policies.pi05.config import Pi05Config
from rlco_trainer.policies.pi05.exploration import Explorer
from rlco_trainer.policies.pi05.flow import (
    guided,
    mixed,
    prefix_weights,
    sample_times,
    time_at,
    visited_times,
)
from rlco_trainer.policies.pi05.gemma import Memory
from rlco_trainer.policies.pi05.network import FlowNetwork
from rlco_trainer.policies.pi05.prompt import pi0_prompts, pi05_prompts
from rlco_trainer.policies.quantiles import STATE_FLOOR, QuantileScale
from rlco_trainer.policies.stem import Stem
from rlco_trainer.policies.tokenizers import load_tokenizer, padded, without_padding
from rlco_trainer.policies.vision import image_size, seen, slots_of, stacked

ACTION_FLOOR = 0.002
"""Least range of an action (m or rad a step; gripper fraction)."""
EPSILON = 1e-6
"""What the public code adds to a range."""


class Pi05Policy(Policy):
    """See `Pi05Config`; `architecture()` returns it as plain data."""

    family: ClassVar[str] = "pi05"
    active: Tensor

    def __init__(
        self, contract: Contract, normalisation: Normalisation, config: Pi05Config
    ) -> None:
        """Build random weights.

        Raises:
            ValueError: if cameras, slots and patches do not fit, or no action dimension moves.
            TokenizerError: if the tokenizer cannot be loaded.
        """
        super().__init__(contract, normalisation)
        if config.variant == "pi0" and contract.state_dim > config.action_dim:
            raise ValueError(
                f"pi0 puts the state of {contract.state_dim} into action_dim {config.action_dim}; "
                "raise action_dim"
            )
        self.config = config
        self.slots = slots_of(contract, config.slots)
        self.tokenizer = load_tokenizer(
            config.tokenizer, words=config.vocabulary, rows=config.vocabulary
        )
        self.network = FlowNetwork(config, image_size(contract), contract.state_dim)
        n = normalisation
        self.state_scale = QuantileScale(
            n.state_q01, n.state_q99, floor=STATE_FLOOR, epsilon=EPSILON
        )
        self.action_scale = QuantileScale(
            n.action_q01, n.action_q99, floor=ACTION_FLOOR, epsilon=EPSILON
        )
        active = torch.tensor(n.action_std) > config.still_std
        if not bool(active.any()):
            raise ValueError(
                f"no action dimension moves: the demonstrated std {n.action_std} is nowhere above "
                f"still_std {config.still_std}. Check the stores."
            )
        padding = torch.zeros(config.action_dim - ACTION_DIM, dtype=torch.bool)
        self.register_buffer("active", torch.cat([active, padding]), persistent=False)
        self.explorer = Explorer(
            config.exploration,
            config.expert.width,
            active,
            executed_steps=contract.executed_steps,
            steps=config.denoising_steps,
        )
        self._velocity = (
            torch.compile(self.network.velocity) if config.compile else (self.network.velocity)
        )
        if config.trained == "expert":
            self.freeze_trunk()

    def architecture(self) -> dict[str, Any]:
        """Return the `Pi05Config` as plain data."""
        return spec.to_plain(self.config)

    def trunk(self) -> tuple[nn.Module, ...]:
        """Return all but the action expert, its projections and the noise head."""
        network = self.network
        stem = () if network.stem is None else (network.stem,)
        return *stem, network.vision, network.projector, network.embed, network.prefix

    def stem(self) -> Stem | None:
        """Return the convolutions in front of SigLIP, if there are any."""
        return self.network.stem

    @torch.no_grad()
    def encode(self, observation: Observation) -> Features:
        """Return prompt ids and images or, once frozen, the memory that the expert reads.

        With the stem alone frozen, its summaries stand for the images.
        """
        state = self.state_scale(observation.state.to(self.active.device))
        prompts = (
            pi0_prompts(observation.instructions)
            if self.config.variant == "pi0" or not self.config.state_in_prompt
            else pi05_prompts(observation.instructions, state.cpu().numpy())
        )
        ids = [self.tokenizer.encode(prompt) for prompt in prompts]
        tokens, token_mask = padded(ids, self.config.max_tokens, left=False)
        read = {"tokens": tokens, "token_mask": token_mask}
        read |= seen(observation.images, self.slots, self.stem(), state, frozen=self.stem_frozen)
        own = {"state": self._to_network(state)} if self.config.variant == "pi0" else {}
        if not (self.trunk_frozen and self.config.cache_memory):
            return read | own
        memory = self._memory(read)
        kept = memory.stacked()
        kept = kept.view(torch.int16) if kept.dtype == torch.bfloat16 else kept
        return {"memory": kept, "memory_mask": memory.mask} | own

    def sft_loss(self, features: Features, actions: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Flow matching on the scaled chunk, over moving dimensions; see `tail_weight`."""
        draws = self.config.draws
        target = self._scaled(actions).repeat_interleave(draws, 0)
        noise = torch.randn_like(target)
        t = self._times(len(target)).to(target.device)
        if "tokens" in features and not self.config.compile:  # which would compile for each length
            features = without_padding(features)
        predicted, _ = self.flow(features)(mixed(target, noise, t), t)
        return flow_matching(
            predicted[..., :ACTION_DIM],
            (noise - target)[..., :ACTION_DIM],
            mask.to(target.device).repeat_interleave(draws, 0),
            self.active[:ACTION_DIM],
            self.contract.executed_steps,
            self.config.tail_weight,
        )

    @torch.no_grad()
    def act(self, features: Features, generator: torch.Generator) -> Decision:
        """Denoise with exploration noise; the latent is the chain of denoising states."""
        start = self._start(_batch(features), generator)
        chain = self.explorer.sample(self.flow(features), start, generator)
        log_prob, _ = self.explorer.log_prob(self.flow(features), chain.latent)
        return Decision(
            actions=self._to_contract(chain.actions), latent=chain.latent, log_prob=log_prob
        )

    def evaluate_actions(self, features: Features, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Log-density of the noisy steps of the chain, and their entropy."""
        return self.explorer.log_prob(self.flow(features), latent.to(self.active.device))

    @torch.no_grad()
    def value_features(self, features: Features) -> Tensor:
        """Return what the language tower made of image and prompt: its values' mean over tokens."""
        memory = self._memory(features)
        weight = memory.mask[:, None, :, None].float()
        means = [(v.float() * weight).sum(2) / weight.sum(2) for v in memory.values]
        return torch.cat([mean.flatten(1) for mean in means], 1)

    @torch.no_grad()
    def best_actions(self, features: Features) -> Tensor:
        """Integrate the flow without exploration noise."""
        flow, steps = self.flow(features), self.config.denoising_steps
        x = self._start(_batch(features), None)
        for step in range(steps):
            t = torch.full((len(x),), time_at(step, steps), device=x.device)
            x = x - flow(x, t)[0] / steps
        return self._to_contract(x)

    def infer_rtc(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: Sequence[str],
        *,
        previous: NDArray[np.float32],
        delay_steps: int,
        guidance_limit: float = 10.0,
    ) -> NDArray[np.float32]:
        """Return chunks that go on where the running ones are: real-time chunking.

        Args:
            images: as `infer`.
            state: as `infer`.
            instructions: as `infer`.
            previous: `(B, P, 7) float32`, contract units: the actions of the running chunks that
                were not executed when the observation was taken; those past the horizon are cut.
            delay_steps: how many of them will have been executed when the reply is there.
            guidance_limit: largest guidance weight.

        Returns:
            `(B, horizon, 7) float32`, contract units; the first `delay_steps` repeat `previous` as
            nearly as the flow can.

        Raises:
            ValueError: naming the input that does not fit.
        """
        require_observation(self.contract, images, state, instructions)
        B, H = len(instructions), self.contract.horizon
        if previous.ndim != 3 or previous.shape[::2] != (B, ACTION_DIM) or delay_steps < 0:
            raise ValueError(
                f"previous is {previous.shape}, delay_steps {delay_steps}; expected ({B}, P, 7) "
                "and at least 0"
            )
        previous = previous[:, :H]
        overlap = previous.shape[1]
        with torch.no_grad():
            features = self.encode(Observation.from_numpy(images, state, instructions))
            flow = self.flow(features)
        x, steps = self._start(B, None), self.config.denoising_steps
        target = torch.zeros_like(x)
        target[:, :overlap] = self._scaled(torch.from_numpy(previous))
        weights = prefix_weights(min(delay_steps, overlap), overlap, H).to(x.device)
        for step in range(steps):
            v = guided(
                lambda y, t: flow(y, t)[0], x, time_at(step, steps), target, weights, guidance_limit
            )
            x = x - v / steps
        return np.asarray(self._to_contract(x).cpu().numpy(), np.float32)

    def _memory(self, features: Features) -> Memory:
        device = self.active.device
        if "memory" in features:
            kept = features["memory"].to(device)
            kept = kept.view(torch.bfloat16) if kept.dtype == torch.int16 else kept
            return Memory.unstacked(kept, features["memory_mask"].to(device))
        tokens, token_mask = features["tokens"].to(device), features["token_mask"].to(device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.trunk_frozen):
            pixels = stacked(features, self.slots, self.stem(), device)
            present = torch.ones(pixels.shape[:2], dtype=torch.bool, device=device)
            return self.network.remember(pixels, present, tokens, token_mask)

    def flow(self, features: Features) -> Any:
        """Return the flow of these observations.

        It maps (x, t) to velocity and expert features; x may hold several chunks of each.
        Dimensions that never move, and padding, follow the exact flow to their known target 0:
        v = x / t. The network sees them as in its pre-training, and need not learn them.
        """
        memory, state = self._memory(features), features.get("state")
        state = None if state is None else state.to(self.active.device)

        def flow(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            v, hidden = self._velocity(memory, x, t, state)
            return torch.where(self.active, v, x / t[:, None, None]), hidden

        return flow

    def _times(self, batch: int) -> Tensor:
        if self.config.times == "visited":
            return visited_times(batch, self.config.denoising_steps)
        return sample_times(batch)

    def _start(self, batch: int, generator: torch.Generator | None) -> Tensor:
        shape = (batch, self.contract.horizon, self.config.action_dim)
        if self.config.start == "zero":
            return torch.zeros(shape, device=self.active.device)
        if generator is None:  # one draw for all: what is executed depends on what is seen alone
            generator = torch.Generator().manual_seed(0)
            return (
                torch.randn(shape[1:], generator=generator)
                .to(self.active.device)
                .repeat(batch, 1, 1)
            )
        return torch.randn(shape, generator=generator).to(self.active.device)

    def _scaled(self, actions: Tensor) -> Tensor:
        """Return `(B, H, A)` of contract actions; 0 where nothing moves, and in the padding."""
        scaled = self._to_network(self.action_scale(actions.to(self.active.device)))
        return scaled * self.active

    def _to_network(self, values: Tensor) -> Tensor:
        return nn.functional.pad(values, (0, self.config.action_dim - values.shape[-1]))

    def _to_contract(self, x: Tensor) -> Tensor:
        return clip_to_contract(self.action_scale.inverse(x[..., :ACTION_DIM]), self.contract)


def _batch(features: Features) -> int:
    return len(next(iter(features.values())))
