"""Noise in the denoising steps of a flow, and its log-probability: flow-noise and flow-SDE."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rlco_trainer.losses import gaussian_log_prob
from rlco_trainer.policies.pi05.config import FlowExploration
from rlco_trainer.policies.pi05.flow import sde_sigma, sde_step, time_at

Flow = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps x_t `(B, H, A)` and t `(B,)` to velocity `(B, H, A)` and expert features `(B, H, C)`."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """One noisy denoising.

    `actions`: `(B, H, A)`, its end. `latent`: what `Explorer.log_prob` needs. flow_noise: all
    states, `(B, K + 1, H, A)`. flow_sde: `(B, 3, H, A)`, the states before and after the random
    step, and a plane filled with that step's number.
    """

    actions: Tensor
    latent: Tensor


class Explorer(nn.Module):
    """Draws noisy denoisings and evaluates their density; only stage II uses it.

    The random numbers that count are those of executed steps and moving dimensions. Deterministic
    steps have no density: the denoising steps are the decisions of a Markov process whose last
    state is the action (arXiv 2409.00588, section 4), and only its random decisions are scored.
    """

    explored: Tensor

    def __init__(
        self,
        config: FlowExploration,
        width: int,
        active: Tensor,
        *,
        executed_steps: int,
        steps: int,
    ) -> None:
        """Build the noise head; `active`: `(7,) bool`, the dimensions that move."""
        super().__init__()
        self.config, self.executed_steps, self.steps = config, executed_steps, steps
        self.register_buffer("explored", active.nonzero().squeeze(1), persistent=False)
        self.head: nn.Module | None = None
        if config.estimator == "flow_noise" and config.std_high > config.std_low:
            self.head = nn.Sequential(
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, len(active))
            )
            last = self.head[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)  # starts in the middle of the range
            nn.init.zeros_(last.bias)

    def sample(self, flow: Flow, start: Tensor, generator: torch.Generator) -> Chain:
        """Denoise from `start` `(B, H, A)` with noise from `generator`."""
        if self.config.estimator == "flow_sde":
            return self._sample_sde(flow, start, generator)
        x, states = start, [start]
        for step in range(self.steps):
            mean, std = self._noise_step(flow, x, step)
            x = mean.clone()
            if self._is_noisy(step):
                offset = torch.randn(std.shape, generator=generator).to(x.device) * std
                rows = slice(None) if self.config.shared else slice(self.executed_steps)
                x[:, rows, self.explored] += offset
            states.append(x)
        return Chain(actions=x, latent=torch.stack(states, 1))

    def log_prob(self, flow: Flow, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-density and entropy, each `(B,)`, in nats, under the present weights."""
        if self.config.estimator == "flow_sde":
            return self._log_prob_sde(flow, latent)
        log_prob, entropy = latent.new_zeros(len(latent)), latent.new_zeros(len(latent))
        for step in filter(self._is_noisy, range(self.steps)):
            mean, std = self._noise_step(flow, latent[:, step], step)
            std = std.squeeze(1) if self.config.shared else std.flatten(1)
            reached = self._scored(latent[:, step + 1])
            log_prob = log_prob + gaussian_log_prob(reached, self._scored(mean), std)
            entropy = entropy + gaussian_entropy(std)
        return log_prob, entropy

    def _is_noisy(self, step: int) -> bool:
        return self.config.noisy_steps == "all" or step == self.steps - 1

    def _noise_step(self, flow: Flow, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the Euler step's mean `(B, H, A)` and std `(B, 1 or E, explored)`."""
        v, hidden = flow(x, _times(x, time_at(step, self.steps)))
        low, high = self.config.std_low, self.config.std_high
        shape = (len(x), self.executed_steps, len(self.explored))
        if self.head is None:
            std = torch.full(shape, low, device=x.device)
        else:
            share = torch.sigmoid(self.head(hidden[:, : self.executed_steps]))
            std = low + (high - low) * share[..., self.explored]
        return x - v / self.steps, std.mean(1, keepdim=True) if self.config.shared else std

    def _scored(self, x: Tensor) -> Tensor:
        executed = x[:, : self.executed_steps, self.explored]
        return executed.mean(1) if self.config.shared else executed.flatten(1)

    def _sample_sde(self, flow: Flow, start: Tensor, generator: torch.Generator) -> Chain:
        chosen = torch.randint(self.steps, (len(start),), generator=generator)
        noise = torch.randn(start.shape, generator=generator).to(start.device)
        chosen = chosen.to(start.device)[:, None, None]
        x = before = after = start
        for step in range(self.steps):
            t = time_at(step, self.steps)
            v, _ = flow(x, _times(x, t))
            mean, std = sde_step(x, v, t, self.steps, self.config.level)
            here = chosen == step
            random = here & self._selected(x)
            following = torch.where(random, mean + std * noise, x - v / self.steps)
            before = torch.where(here, x, before)
            after = torch.where(here, following, after)
            x = following
        number = chosen.expand_as(x).to(x.dtype)
        return Chain(actions=x, latent=torch.stack([before, after, number], 1))

    def _selected(self, x: Tensor) -> Tensor:
        """Return `(H, A) bool`: executed steps of moving dimensions."""
        selected = torch.zeros(x.shape[1:], dtype=torch.bool, device=x.device)
        selected[: self.executed_steps, self.explored] = True
        return selected

    def _log_prob_sde(self, flow: Flow, latent: Tensor) -> tuple[Tensor, Tensor]:
        before, after, number = latent.unbind(1)
        step = number[:, 0, 0]
        t = 1.0 - step / self.steps
        v, _ = flow(before, t)
        mean, std = torch.zeros_like(before), torch.zeros_like(t)
        for index in range(self.steps):
            at = time_at(index, self.steps)
            here = (step == index)[:, None, None]
            mean = torch.where(
                here, sde_step(before, v, at, self.steps, self.config.level)[0], mean
            )
            spread = sde_sigma(at, self.steps, self.config.level) * self.steps**-0.5
            std = torch.where(here[:, 0, 0], spread, std)
        spread_of = std[:, None].expand_as(self._scored(mean))
        log_prob = gaussian_log_prob(self._scored(after), self._scored(mean), spread_of)
        return log_prob, gaussian_entropy(spread_of)


def gaussian_entropy(std: Tensor) -> Tensor:
    """Return the `(B,)` entropy of independent Gaussians of `std` `(B, D)`, in nats."""
    return (0.5 * math.log(2 * math.pi * math.e) + std.log()).sum(1)


def _times(x: Tensor, t: float) -> Tensor:
    return torch.full((len(x),), t, device=x.device)
