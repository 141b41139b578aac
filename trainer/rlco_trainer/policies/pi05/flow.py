"""Sampling from a learned flow, and the log-probabilities of its noisy variants: pure functions.

Time runs from 1 (noise) to 0 (action) in K Euler steps; `x_t = t * noise + (1 - t) * action` and
the velocity is `noise - action` (Lipman et al. 2023, arXiv 2210.02747, with time reversed).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Maps x_t `(B, H, A)` and t `(B,)` to a velocity `(B, H, A)`."""


def time_at(step: int, steps: int) -> float:
    """Return the flow time before Euler step `step` (from 0) of `steps`."""
    return 1.0 - step / steps


def mixed(actions: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return x_t, `(B, H, A)`; `t`: `(B,)`."""
    weight = t[:, None, None]
    return weight * noise + (1 - weight) * actions


def sample_times(batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Return `(B,)` training times, Beta(1.5, 1) * 0.999 + 0.001 (arXiv 2410.24164, appendix B).

    The distribution function of Beta(1.5, 1) is t^1.5, so its inverse makes it from a uniform.
    """
    return torch.rand(batch, generator=generator) ** (1 / 1.5) * 0.999 + 0.001


def visited_times(batch: int, steps: int) -> Tensor:
    """Return `(batch,)` training times, each that of one of the K Euler steps, at random."""
    return 1.0 - torch.randint(steps, (batch,)) / steps


def sample_ode(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Integrate from `noise` `(B, H, A)` to actions, without randomness."""
    x = noise
    for step in range(steps):
        x = x - velocity(x, _times(x, time_at(step, steps))) / steps
    return x


def sde_step(
    x: Tensor, velocity: Tensor, t: float, steps: int, level: float
) -> tuple[Tensor, float]:
    """Return mean and standard deviation of one stochastic step of 1/K (arXiv 2505.05470, eq. 9).

    `dx = [v + sigma^2 / (2 t) (x + (1 - t) v)] dt + sigma dw` has the marginals of `dx = v dt` for
    any sigma; here sigma = level * sqrt(t / (1 - t)), with t = 1 - 1/K under the root at t = 1,
    where it would be infinite.

    Args:
        x: `(B, H, A)`.
        velocity: `(B, H, A)` at x.
        t: flow time of x.
        steps: K.
        level: the factor of sigma.
    """
    dt = 1.0 / steps
    sigma = sde_sigma(t, steps, level)
    noise = x + (1 - t) * velocity
    return x - dt * (velocity + sigma**2 / (2 * t) * noise), float(sigma * dt**0.5)


def sde_sigma(t: float, steps: int, level: float) -> float:
    """Return sigma(t) of `sde_step`."""
    below = min(t, 1.0 - 1.0 / steps) if steps > 1 else 0.5
    return level * float((t / (1 - below)) ** 0.5)


def prefix_weights(delay: int, overlap: int, horizon: int) -> Tensor:
    """Return `(H,)` weights of the old chunk in real-time chunking, linear schedule.

    1 for the `delay` steps that will have been executed before the new chunk is there, then
    falling linearly, and 0 from `overlap` on (arXiv 2506.07339, section IV, there exponential).
    """
    delay, overlap = min(delay, horizon), min(overlap, horizon)
    falling = torch.linspace(1, 0, max(overlap - delay, 0) + 2)[1:-1]
    weights = torch.cat([torch.ones(delay), falling, torch.zeros(horizon)])
    return weights[:horizon]


def guided(
    velocity: Velocity, x: Tensor, t: float, target: Tensor, weights: Tensor, limit: float
) -> Tensor:
    """Return the velocity steered so that the result agrees with `target` (arXiv 2506.07339, eq 2).

    Args:
        velocity: the flow; differentiated with respect to x.
        x: `(B, H, A)` at time t.
        t: flow time, 1 to 0.
        target: `(B, H, A)`, what the first steps are to be.
        weights: `(H,)` of `prefix_weights`.
        limit: largest guidance weight.
    """
    tau = 1.0 - t
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        v = velocity(x, _times(x, t))
        clean = x - t * v
        error = ((target - clean) * weights[:, None]).detach()
        (correction,) = torch.autograd.grad(clean, x, error)
    strength = limit
    if tau > 0:
        strength = min(limit, (1 - tau) / tau * (tau**2 + (1 - tau) ** 2) / (1 - tau) ** 2)
    return v.detach() - strength * correction


def _times(x: Tensor, t: float) -> Tensor:
    return torch.full((len(x),), t, device=x.device)
