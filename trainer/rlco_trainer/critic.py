"""The critics of stage II: small networks on privileged state, or on the policy's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlco_trainer.losses import value_regression
from rlco_trainer.training_state import (
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    unprefixed,
)


class Critic(nn.Module):
    """Value of a state before an action chunk; only training uses it."""

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, hidden: int) -> None:
        """Build random weights for `inputs` numbers."""
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

    def calibrate(self, states: Tensor) -> None:
        """Take input mean and deviation from `(N, P)` states; done once, on the first ones."""
        self.mean.copy_(states.mean(0))
        self.std.copy_(states.std(0).clamp(min=1e-3))

    def forward(self, states: Tensor) -> Tensor:
        """Map `(N, P)` to `(N,)`; inputs far outside the calibration are clipped."""
        x = ((states - self.mean) / self.std).clamp(-5.0, 5.0)
        value: Tensor = self.layers(x).squeeze(-1)
        return value


def fit(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    states: Tensor,
    returns: Tensor,
    *,
    epochs: int,
    minibatch: int,
    generator: torch.Generator,
    clip: float = 0.0,
) -> float:
    """Regress the critic on returns `(N,)` of states `(N, P)`; return the last epoch's mean loss.

    `clip > 0` bounds how far predictions move (`value_regression`).
    """
    with torch.no_grad():
        earlier = critic(states)
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(len(returns), generator=generator)
        for rows in order.split(minibatch):
            loss = value_regression(critic(states[rows]), returns[rows], earlier[rows], clip)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
    return total / len(returns)


class TaskCritics:
    """One critic a task, each built when the size of its input is first known."""

    def __init__(self, hidden: int, learning_rate: float, seed: int) -> None:
        """Take what every critic shares."""
        self._hidden, self._learning_rate, self._seed = hidden, learning_rate, seed
        self._built: dict[str, tuple[Critic, torch.optim.Optimizer]] = {}

    def of(self, task: str, states: Tensor) -> tuple[Critic, torch.optim.Optimizer]:
        """Return the critic of a task and its optimizer; a new one is calibrated on `states`."""
        if task not in self._built:
            critic, _ = self._build(task, states.shape[1])
            critic.calibrate(states)
        return self._built[task]

    def _build(self, task: str, inputs: int) -> tuple[Critic, torch.optim.Optimizer]:
        torch.manual_seed(self._seed)
        critic = Critic(inputs, self._hidden)
        optimizer = torch.optim.Adam(critic.parameters(), lr=self._learning_rate, foreach=True)
        self._built[task] = (critic, optimizer)
        return critic, optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and moments of every critic."""
        return {
            name: value
            for task, (critic, optimizer) in self._built.items()
            for name, value in {
                **prefixed(f"{task}/weights", critic.state_dict()),
                **prefixed(f"{task}/moments", optimizer_tensors(optimizer)),
            }.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned."""
        for task in sorted({name.split("/", 1)[0] for name in tensors}):
            weights = unprefixed(f"{task}/weights", tensors)
            critic, optimizer = self._build(task, len(weights["mean"]))
            critic.load_state_dict(weights)
            restore_optimizer(optimizer, unprefixed(f"{task}/moments", tensors))
