"""The training losses: pure functions that return named terms and cite their equation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PARTS = {"translation": slice(0, 3), "rotation": slice(3, 6), "gripper": slice(6, 7)}


def supervised_regression(
    predicted: Tensor, target: Tensor, mask: Tensor, active: Tensor, executed_steps: int
) -> dict[str, Tensor]:
    """Return the smooth-L1 loss of action chunks, over what a robot will really execute.

    The mean runs over the action dimensions that move, the steps inside the episode and the steps
    that are executed before the next inference; padding would otherwise dilute the loss, and with
    it alpha and beta. Equation: Huber loss with threshold 1, Girshick 2015 (Fast R-CNN), eq. 3.

    Args:
        predicted: `(B, horizon, 7)`, normalised units.
        target: `(B, horizon, 7)`, normalised units.
        mask: `(B, horizon) bool`, False past an episode's end.
        active: `(7,) bool`, the action dimensions that move.
        executed_steps: how many steps from the start of the chunk count.

    Returns:
        `loss` (with gradient) and the detached mean of each part: `translation`, ...
    """
    error = F.smooth_l1_loss(predicted, target, reduction="none")
    executed = torch.arange(mask.shape[1], device=mask.device) < executed_steps
    weight = ((mask & executed)[:, :, None] & active).to(error.dtype)
    terms = {"loss": (error * weight).sum() / weight.sum().clamp(min=1.0)}
    for name, part in PARTS.items():
        share = weight[..., part]
        total = (error.detach()[..., part] * share).sum()
        terms[name] = total / share.sum().clamp(min=1.0)
    return terms


def gaussian_log_prob(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the `(B,)` log-density of `value` `(B, A)` under independent Gaussians, in nats."""
    z = (value - mean) / std
    return (-0.5 * z.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def ppo_clip(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
) -> dict[str, Tensor]:
    """Return the clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7).

    Args:
        log_prob: `(B,)`, under the weights being trained.
        old_log_prob: `(B,)`, under the weights that acted.
        advantage: `(B,)`.
        clip: the half width of the trusted ratio interval.

    Returns:
        `loss` (with gradient); detached `kl` (the unbiased, never negative estimate `r - 1 - log r`
        of KL(old || new), Schulman 2020), `clip_fraction` and `ratio_deviation` (mean |r - 1|).
    """
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
    with torch.no_grad():
        deviation = (ratio - 1).abs()
        return {
            "loss": loss,
            "kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": (deviation > clip).to(ratio.dtype).mean(),
            "ratio_deviation": deviation.mean(),
        }


def value_regression(predicted: Tensor, returns: Tensor) -> Tensor:
    """Return the critic's mean squared error; both `(B,)`."""
    return F.mse_loss(predicted, returns)
