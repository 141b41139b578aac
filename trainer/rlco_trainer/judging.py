"""How good was each choice? An iteration's episodes in, chunks with advantages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlco_trainer.advantages import chunk_advantages, group_advantages
from rlco_trainer.critic import Critic, TaskCritics, fit
from rlco_trainer.episodes import EpisodeReport, Experience, joined
from rlco_trainer.policies.interface import Policy
from rlco_trainer.ppo import Chunks, PpoConfig
from rlco_trainer.stage2_config import Stage2Config


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a critic makes of one task's experience: `(N,)` advantages and returns of its states."""

    states: Tensor
    advantage: NDArray[np.float32]
    returns: Tensor


def judge(
    experience: Experience,
    critic: Critic,
    states: Tensor,
    following_states: Tensor,
    config: PpoConfig,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Judged:
    """Judge each episode's chunks by the critic.

    What the critic expects after an episode that ran out of time is clipped to `value_range`, all
    that returns can be: such states may lie outside what it was fitted on, and its extrapolations
    would otherwise feed on themselves.

    Args:
        experience: one task's episodes.
        critic: that task's.
        states: `(N, P)`, what the critic reads before each chunk.
        following_states: `(E, P)`, the same after each episode's last chunk.
        config: discount and trace decay.
        value_range: least and largest possible return.
    """
    with torch.no_grad():
        values = critic(states).numpy()
        following = critic(following_states).clamp(*value_range).numpy()
    starts = np.cumsum(experience.lengths) - experience.lengths
    advantages, returns = np.empty_like(values), np.empty_like(values)
    for i, (start, length) in enumerate(zip(starts, experience.lengths, strict=True)):
        rows = slice(int(start), int(start + length))
        advantages[rows], returns[rows] = chunk_advantages(
            experience.reward[rows],
            values[rows],
            float(following[i]),
            terminated=bool(experience.terminated[i]),
            gamma=config.gamma,
            lambda_=config.lambda_,
        )
    return Judged(states=states, advantage=advantages, returns=torch.from_numpy(returns))


def judge_by_group(experience: Experience, starts: Sequence[str]) -> NDArray[np.float32]:
    """Return the `(N,)` advantage of each chunk: its episode's, within the episodes of one start.

    `starts` names where each episode began, in the order of `experience.lengths`.
    """
    ends = np.cumsum(experience.lengths)
    returns = np.add.reduceat(experience.reward, ends - experience.lengths)
    return np.repeat(group_advantages(returns, starts), experience.lengths)


def chunks_of(
    parts: Sequence[tuple[Experience, NDArray[np.float32]]], *, standardise: bool, device: str
) -> Chunks:
    """Join tasks, each with its `(N,)` advantages, which are standardised over all if asked."""
    advantage = np.concatenate([own for _, own in parts])
    if standardise:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)

    def join(arrays: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    return Chunks(
        features={
            name: join([experience.features[name] for experience, _ in parts])
            for name in parts[0][0].features
        },
        latent=join([experience.latent for experience, _ in parts]),
        log_prob=join([experience.log_prob for experience, _ in parts]),
        advantage=join([advantage]),
    )


class Judge:
    """Judges the tasks of a run, each by its own critic or by groups; owns the critics."""

    def __init__(self, config: Stage2Config, policy: Policy) -> None:
        """Take the run's numbers, and the policy whose features a critic may read."""
        self._config, self._policy = config, policy
        self.critics = TaskCritics(
            config.ppo.critic_hidden, config.ppo.critic_learning_rate, config.seed
        )

    def __call__(
        self, reports: Mapping[str, Sequence[EpisodeReport]], generator: torch.Generator
    ) -> tuple[Chunks, dict[str, float]]:
        """Give every chunk of every task its advantage, fit the critics; return what was measured.

        Advantages by critics are standardised over all tasks together, so that a task in which
        little happens does not get louder by being quiet.
        """
        by_critic = self._config.estimator == "gae"
        parts: list[tuple[Experience, NDArray[np.float32]]] = []
        measured: dict[str, float] = {}
        for task, part in reports.items():
            experience = joined([r.experience for r in part if r.experience is not None])
            if by_critic:
                advantage, loss, explained = self._by_critic(task, experience, generator)
                measured[f"critic/loss/{task}"] = loss
                measured[f"critic/explained_variance/{task}"] = explained
            else:
                starts = [outcome.condition for report in part for outcome in report.outcomes]
                advantage = judge_by_group(experience, starts)
            parts.append((experience, advantage))
        chunks = chunks_of(parts, standardise=by_critic, device=self._config.device)
        return chunks, measured

    def _by_critic(
        self, task: str, experience: Experience, generator: torch.Generator
    ) -> tuple[NDArray[np.float32], float, float]:
        """Return advantages, and the critic's loss and explained variance after its fit."""
        config = self._config
        if config.critic == "privileged":
            states = torch.from_numpy(experience.privileged)
            following = torch.from_numpy(experience.last_privileged)
        else:
            states = self._value_features(experience.features)
            following = self._value_features(experience.last_features)
        critic, optimizer = self.critics.of(task, states)
        value_range = (-config.shaping, 1.0)
        judged = judge(experience, critic, states, following, config.ppo, value_range)
        loss = fit(
            critic,
            optimizer,
            judged.states,
            judged.returns,
            epochs=config.ppo.critic_epochs,
            minibatch=config.ppo.minibatch,
            generator=generator,
            clip=config.ppo.value_clip,
        )
        return judged.advantage, loss, 1 - loss / max(float(judged.returns.var()), 1e-9)

    @torch.no_grad()
    def _value_features(self, features: Mapping[str, NDArray[Any]]) -> Tensor:
        tensors = {k: torch.from_numpy(v).to(self._config.device) for k, v in features.items()}
        return self._policy.value_features(tensors).cpu()
