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
    return {"loss": _mean(error, weight), **_parts(error, weight)}


def flow_matching(
    predicted: Tensor,
    target: Tensor,
    mask: Tensor,
    active: Tensor,
    executed_steps: int,
    tail_weight: float,
) -> dict[str, Tensor]:
    """Return the conditional flow matching loss (Lipman et al. 2023, arXiv 2210.02747, eq. 9).

    Mean squared error of the velocity. Executed steps and the tail of the chunk are averaged each
    on its own, so that neither the tail nor padding dilutes the loss of what is executed.

    Args:
        predicted: `(B, horizon, 7)` velocity.
        target: `(B, horizon, 7)` velocity, noise - action.
        mask: `(B, horizon) bool`, False past an episode's end.
        active: `(7,) bool`, the action dimensions that move.
        executed_steps: how many steps from the start of the chunk are executed.
        tail_weight: weight of the mean over the other steps.

    Returns:
        `loss` (with gradient), detached `tail`, and each part of the executed steps' mean.
    """
    error = F.mse_loss(predicted, target, reduction="none")
    executed = torch.arange(mask.shape[1], device=mask.device) < executed_steps
    weight = ((mask & executed)[:, :, None] & active).to(error.dtype)
    tail = _mean(error, ((mask & ~executed)[:, :, None] & active).to(error.dtype))
    loss = _mean(error, weight) + tail_weight * tail
    return {"loss": loss, "tail": tail.detach(), **_parts(error, weight)}


def token_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor, spread: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the cross-entropy of action tokens, over those that are executed and move.

    Args:
        logits: `(B, N, V)`, N = horizon * 7 tokens, over the vocabulary.
        target: `(B, N) int64`, ids in that vocabulary.
        weight: `(B, N) bool`, the tokens that count.
        spread: `(V, V)`, row t the distribution that stands for target t, in place of t alone
            (HL-Gauss, arXiv 2403.03950, section 3).

    Returns:
        `loss` (with gradient) and the detached share of tokens that the argmax gets right,
        `accuracy`. Equation: negative log-likelihood, as in OpenVLA (arXiv 2406.09246, sec. 3.2).
    """
    share = weight.to(logits.dtype)
    wanted = target.flatten() if spread is None else spread[target.flatten()]
    error = F.cross_entropy(logits.flatten(0, 1), wanted, reduction="none")
    right = (logits.argmax(-1) == target).to(logits.dtype)
    return {
        "loss": _mean(error.view(target.shape), share),
        "accuracy": _mean(right, share).detach(),
    }


def token_log_prob(logits: Tensor, tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of token sequences, each `(B,)`, in nats.

    Args:
        logits: `(B, N, V)`.
        tokens: `(B, N) int64`, ids among the V.
        weight: `(B, N) bool`, the tokens that were drawn at random and are executed.
    """
    log_probs = logits.log_softmax(-1)
    chosen = log_probs.gather(-1, tokens[..., None]).squeeze(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    share = weight.to(logits.dtype)
    return (chosen * share).sum(-1), (entropy * share).sum(-1)


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    return (error * weight).sum() / weight.sum().clamp(min=1.0)


def _parts(error: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Return the detached mean of each part of an action; both `(B, horizon, 7)`."""
    return {
        name: _mean(error.detach()[..., part], weight[..., part]) for name, part in PARTS.items()
    }


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


def value_regression(
    predicted: Tensor, returns: Tensor, earlier: Tensor | None = None, clip: float = 0.0
) -> Tensor:
    """Return the critic's mean squared error; all `(B,)`.

    With `clip > 0` a prediction that moved further than `clip` from the `earlier` one, the one that
    advantages were computed with, gets the larger of both errors (Schulman et al. 2017, in the form
    that Engstrom et al. 2020, arXiv 2005.12729, section 3, describe).
    """
    error = (predicted - returns).square()
    if clip > 0:
        if earlier is None:
            raise ValueError("a value clip needs the earlier predictions")
        near = earlier + (predicted - earlier).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return error.mean()
