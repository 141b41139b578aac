"""One PPO update with the supervised loss on demonstrations in the same gradient step.

`loss = L_PPO(sim) + beta * L_SFT(real) [+ sim_beta * L_SFT(sim)]` (arXiv 2602.12628, section
III-C), one chunk being one action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlco_trainer.demonstrated import Demonstrated
from rlco_trainer.losses import ppo_clip
from rlco_trainer.policies.interface import Features, Policy, rows_of


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """The update's numbers; the defaults are the recipe that worked on the demo bench."""

    learning_rate: float = 1e-4
    """Rate of Adam for the policy."""
    epochs: int = 6
    """Passes over an iteration's chunks."""
    minibatch: int = 320
    """Chunks a gradient step."""
    clip: float = 0.2
    """Half width of the trusted ratio interval."""
    kl_stop: float = 0.05
    """Mean KL divergence from the acting policy at which an iteration's update ends."""
    grad_clip: float = 0.5
    """Largest norm of the policy's gradient."""
    rl_weight: float = 1.0
    """Weight of the reinforcement term; 0 leaves the supervised terms alone, as a control."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus; of no effect where the exploration noise is fixed."""
    gamma: float = 0.97
    """Discount per chunk."""
    lambda_: float = 0.95
    """Trace decay per chunk."""
    critic_learning_rate: float = 1e-3
    """Rate of Adam for the critic."""
    critic_epochs: int = 8
    """The critic's passes over an iteration's chunks."""
    critic_hidden: int = 128
    """Width of the critic's two hidden layers."""
    value_clip: float = 0.0
    """How far the critic's predictions may move in an iteration at no cost; 0: any distance."""
    sft_minibatch: int = 128
    """Demonstration samples a gradient step."""
    accumulate: int = 1
    """Forward passes that a gradient step's samples are spread over: less memory, the same step."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "epochs",
            "minibatch",
            "critic_epochs",
            "critic_hidden",
            "sft_minibatch",
            "accumulate",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip", "kl_stop", "grad_clip", "critic_learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not (0 < self.gamma <= 1 and 0 <= self.lambda_ <= 1):
            raise ValueError(f"gamma {self.gamma}, lambda {self.lambda_} must be in [0, 1]")
        if min(self.rl_weight, self.entropy_weight, self.value_clip) < 0:
            raise ValueError("rl_weight, entropy_weight and value_clip must not be negative")


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """An iteration's choices of all tasks, and how good each was; see `Experience` for shapes."""

    features: Features
    latent: Tensor
    log_prob: Tensor
    advantage: Tensor


def update_policy(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    chunks: Chunks,
    demonstrated: Sequence[Demonstrated],
    config: PpoConfig,
    generator: torch.Generator,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, float]:
    """Improve the policy on one iteration's chunks; return what was measured.

    `context` surrounds each forward pass, for example with mixed precision.
    """
    parameters = [p for p in policy.parameters() if p.requires_grad]
    measured: dict[str, float] = {}
    steps, stopped = 0, False
    history: list[dict[str, float]] = []
    for _ in range(config.epochs):
        order = torch.randperm(len(chunks.advantage), generator=generator)
        for rows in order.split(config.minibatch):
            drawn = [demos.draw(config.sft_minibatch, generator) for demos in demonstrated]
            optimizer.zero_grad(set_to_none=True)
            history.append(_accumulate(policy, chunks, rows, demonstrated, drawn, config, context))
            nn.utils.clip_grad_norm_(parameters, config.grad_clip)
            optimizer.step()
            steps += 1
        epoch = history[-max(1, len(order.split(config.minibatch))) :]
        stopped = float(np.mean([row["kl"] for row in epoch])) > config.kl_stop
        if stopped:
            break
    for name in history[0]:
        measured[f"ppo/{name}"] = float(np.mean([row[name] for row in history]))
    measured["ppo/first_ratio_deviation"] = history[0]["ratio_deviation"]
    measured["ppo/last_kl"] = history[-1]["kl"]
    measured["ppo/steps"] = float(steps)
    measured["ppo/stopped_by_kl"] = float(stopped)
    return measured


def _accumulate(
    policy: Policy,
    chunks: Chunks,
    rows: Tensor,
    demonstrated: Sequence[Demonstrated],
    drawn: Sequence[Tensor],
    config: PpoConfig,
    context: Callable[[], AbstractContextManager[Any]],
) -> dict[str, float]:
    """Add the gradient of one step's loss, over `config.accumulate` passes; return the RL terms.

    A pass counts by its share of what each term is a mean over, so that the sum is the gradient of
    one large pass. A flow draws its noise for each pass, and is equal to it on average.
    """
    measured: dict[str, float] = {}
    for turn in range(config.accumulate):
        part = rows[turn :: config.accumulate]
        loss = torch.zeros(())
        with context():
            if len(part) > 0:
                share = len(part) / len(rows)
                terms = rl_terms(policy, chunks, part, config)
                rl = config.rl_weight * terms["loss"] - config.entropy_weight * terms["entropy"]
                loss = share * rl
                for name, value in terms.items():
                    measured[name] = measured.get(name, 0.0) + share * float(value.detach())
            for demos, chosen in zip(demonstrated, drawn, strict=True):
                some = chosen[turn :: config.accumulate]
                if len(some) > 0:
                    share = demos.share(some, chosen, policy.contract.executed_steps)
                    loss = loss + demos.weight * share * demos.loss(policy, some)["loss"]
        if loss.requires_grad:
            loss.backward()
    return measured


def rl_terms(policy: Policy, chunks: Chunks, rows: Tensor, config: PpoConfig) -> dict[str, Tensor]:
    """Return the named terms of the clipped surrogate on `rows`."""
    log_prob, entropy = policy.evaluate_actions(rows_of(chunks.features, rows), chunks.latent[rows])
    terms = ppo_clip(log_prob, chunks.log_prob[rows], chunks.advantage[rows], config.clip)
    return terms | {"entropy": entropy.mean()}


def gradient_norms(
    policy: Policy,
    chunks: Chunks,
    demonstrated: Sequence[Demonstrated],
    config: PpoConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Measure what each term does to the parameters, on one forward pass before the first step.

    `gradient/<kind>_sft` is that of the supervised loss itself, `gradient/beta_sft` of all of them
    with their weights.
    """
    parameters = [p for p in policy.parameters() if p.requires_grad]
    rows = torch.randperm(len(chunks.advantage), generator=generator)
    rows = rows[: -(-config.minibatch // config.accumulate)]
    rl = _flat_gradient(rl_terms(policy, chunks, rows, config)["loss"], parameters)
    sft, loss = torch.zeros_like(rl), 0.0
    own: dict[str, float] = {}
    for demos in demonstrated:
        drawn = demos.draw(-(-config.sft_minibatch // config.accumulate), generator)
        term = demos.loss(policy, drawn)["loss"]
        gradient = _flat_gradient(term, parameters)
        sft += demos.weight * gradient
        loss += demos.weight * float(term.detach())
        own[f"gradient/{demos.kind}_sft"] = float(gradient.norm())
    rl_norm, sft_norm = float(rl.norm()), float(sft.norm())
    return own | {
        "gradient/rl": rl_norm,
        "gradient/beta_sft": sft_norm,
        "gradient/beta_sft_over_rl": sft_norm / max(rl_norm, 1e-12),
        "gradient/cosine": float(rl @ sft) / max(rl_norm * sft_norm, 1e-12),
        "sft/beta_loss": loss,
    }


def adapted_beta(beta: float, target_ratio: float, measured: Mapping[str, float]) -> float:
    """Return the beta that moves half-way (geometrically) to where the ratio holds.

    The ratio is that of `gradient_norms`: beta times the real supervised gradient's norm over that
    of the RL gradient. Both are noisy, hence half-way.
    """
    rl, sft = measured["gradient/rl"], measured["gradient/real_sft"]
    if min(beta, rl, sft) <= 0:
        return beta
    return math.sqrt(beta * target_ratio * rl / sft)


def _flat_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(parameters, parts, strict=True)
        ]
    )
