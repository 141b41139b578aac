"""The critic of stage II: a small network on the scene's privileged state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlco_trainer.losses import value_regression


class Critic(nn.Module):
    """Value of a state before an action chunk; only training uses it."""

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, hidden: int) -> None:
        """Build random weights for `inputs` privileged numbers."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def calibrate(self, privileged: Tensor) -> None:
        """Take input mean and deviation from `(N, P)` states; done once, on the first ones."""
        self.mean.copy_(privileged.mean(0))
        self.std.copy_(privileged.std(0).clamp(min=1e-3))

    def forward(self, privileged: Tensor) -> Tensor:
        """Map `(N, P)` to `(N,)`; inputs far outside the calibration are clipped."""
        x = ((privileged - self.mean) / self.std).clamp(-5.0, 5.0)
        value: Tensor = self.layers(x).squeeze(-1)
        return value


def fit(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    privileged: Tensor,
    returns: Tensor,
    *,
    epochs: int,
    minibatch: int,
    generator: torch.Generator,
) -> float:
    """Regress the critic on returns `(N,)`; return the mean loss of the last epoch."""
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(len(returns), generator=generator)
        for rows in order.split(minibatch):
            loss = value_regression(critic(privileged[rows]), returns[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
    return total / len(returns)
