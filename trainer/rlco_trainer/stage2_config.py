"""Everything that decides what a stage II run learns, and how its episodes are dealt out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from rlco_trainer.optimizers import Moments
from rlco_trainer.ppo import PpoConfig
from rlco_trainer.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Stage2Config:
    """Everything that decides what a stage II run learns."""

    init: str = ""
    """Checkpoint folder to start from, usually that of stage I."""
    twin: str = ""
    """Twin file to train in."""
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--task"])] = ("pick_and_place",)
    """Tasks of the twin, learnt together by one policy that is told which."""
    real: tuple[str, ...] = ()
    """Episode stores of real demonstrations, for the supervised term."""
    sim: tuple[str, ...] = ()
    """Episode stores of sim demonstrations, where sim_beta is not 0."""
    beta: float = 0.5
    """Weight of the supervised loss on real demonstrations; 0 is reinforcement learning alone."""
    beta_ratio: float = 0.0
    """Adapt beta so that its term's gradient has this share of the RL gradient's norm; 0: fixed."""
    sim_beta: float = 0.0
    """Weight of the supervised loss on sim demonstrations."""
    real_limit: int = 0
    """Episodes of each task that count of each real store, from the first; 0: all."""
    held_out: float = 0.0
    """Share of the real episodes kept from training, to measure the supervised loss on."""
    patience: int = 0
    """Evaluations without a lower held-out loss after which the run ends; 0: never."""
    iterations: int = 40
    """Rounds of rollout and update."""
    episodes: int = 192
    """Exploring episodes an iteration, over all tasks."""
    max_steps: int = 60
    """Time limit of an episode, control periods."""
    shaping: float = 0.0
    """Weight of the task's shaped reward, as a potential; 0 is sparse success alone."""
    curriculum_start: float = 1.0
    """Share of each range of start states, about its middle, that iteration 0 draws from."""
    curriculum_iterations: int = 0
    """Iterations until start states are drawn from the whole ranges; 0: from the first."""
    randomise: bool = False
    """Explore in benches drawn within the twin's stated uncertainties; validation stays in it."""
    estimator: Literal["gae", "group"] = "gae"
    """Advantages by a critic (PPO), or within groups of episodes of one start (GRPO)."""
    group: int = 8
    """Episodes of one start, where the estimator is `group`."""
    critic: Literal["privileged", "features"] = "privileged"
    """What the critic reads: the scene's true state, or what the policy's perception gives."""
    train_trunk: bool = False
    """Train perception too: much slower, since images are encoded again in every step."""
    augmented_copies: int = 3
    """Shifted and re-coloured copies of each demonstration image, beside the original."""
    shift_px: int = 2
    """Largest random shift of a copy, pixels."""
    gain: float = 0.15
    """Largest relative random gain of a colour channel of a copy."""
    evaluate_every: int = 4
    """Iterations between deterministic evaluations."""
    evaluation_episodes: int = 120
    """Validation conditions, over all tasks; the same for the whole run, and never those of
    `rlco-train eval`."""
    final: Literal["best", "last"] = "best"
    """Which checkpoint is final: best on the validation conditions, or the last."""
    seed: int = 0
    """Seed of conditions, exploration and minibatches."""
    workers: int = 2
    """Rollout processes; 1: this one."""
    envs: int = 8
    """Scenes in each rollout process."""
    threads: int = 2
    """Torch threads of the learner."""
    deterministic: bool = False
    """Refuse or replace kernels that add in changing order, as some of a GPU do; slower."""
    device: str = "cpu"
    """Torch device of the learner; rollout workers infer on their CPU."""
    precision: Precision = "fp32"
    """Arithmetic of the update's forward passes; weights stay in fp32."""
    moments: Moments = "fp32"
    """Adam's state, two numbers a trained weight: in float32, in 8 bits each (less memory), or in
    float32 in the host's memory (none of the GPU's, the same numbers, slower steps)."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
    """Numbers of the update."""

    def __post_init__(self) -> None:
        """Check ranges and that what is asked for is given."""
        for name in ("iterations", "episodes", "max_steps", "evaluate_every", "workers", "envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if min(self.evaluation_episodes, self.threads) < 1:
            raise ValueError("evaluation_episodes and threads must be at least 1")
        for name in ("beta", "beta_ratio", "sim_beta", "shaping", "augmented_copies", "shift_px"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if min(self.gain, self.real_limit, self.patience, self.curriculum_iterations) < 0:
            raise ValueError(
                "gain, real_limit, patience and curriculum_iterations must not be negative"
            )
        if not 0 < self.curriculum_start <= 1 or not 0 <= self.held_out < 1:
            raise ValueError(
                f"curriculum_start {self.curriculum_start} must be in (0, 1], held_out "
                f"{self.held_out} in [0, 1)"
            )
        if not self.init or not self.twin:
            raise ValueError("give a checkpoint to start from (init) and a twin file (twin)")
        self._check_tasks()
        for weight, stores in (("beta", "real"), ("sim_beta", "sim")):
            if getattr(self, weight) > 0 and not getattr(self, stores):
                raise ValueError(
                    f"{weight} {getattr(self, weight)} asks for {stores} demonstrations: give "
                    f"--{stores}, or set {weight} to 0"
                )
        for name, needed in (
            ("beta_ratio", "beta"),
            ("held_out", "beta"),
            ("patience", "held_out"),
        ):
            if getattr(self, name) > 0 and getattr(self, needed) == 0:
                raise ValueError(
                    f"{name} {getattr(self, name)} is of no effect while {needed} is 0"
                )

    def _check_tasks(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks must be named, each once, got {self.tasks}")
        least = len(self.tasks) * (self.group if self.estimator == "group" else 1)
        if self.group < 2 or self.episodes < least or self.evaluation_episodes < len(self.tasks):
            raise ValueError(
                f"{self.episodes} episodes and {self.evaluation_episodes} evaluation_episodes are "
                f"too few for {len(self.tasks)} tasks with groups of {self.group} (at least 2)"
            )

    @property
    def step_samples(self) -> int:
        """Return how many samples are in memory in one pass: chunks and demonstrations."""
        terms = sum(weight > 0 for weight in (self.beta, self.sim_beta))
        passes = self.ppo.accumulate
        return -(-self.ppo.minibatch // passes) + terms * -(-self.ppo.sft_minibatch // passes)

    def extent(self, iteration: int) -> float:
        """Return the share of the start states' ranges that an iteration draws from."""
        if self.curriculum_iterations == 0:
            return 1.0
        progress = min(1.0, iteration / self.curriculum_iterations)
        return self.curriculum_start + (1 - self.curriculum_start) * progress


def deal(episodes: int, success: Mapping[str, float], *, multiple: int = 1) -> dict[str, int]:
    """Return how many of an iteration's episodes each task gets.

    In proportion to `sqrt(s (1 - s)) + 0.1`, the spread of outcomes at success rate s: a task that
    always or never succeeds teaches little, but is not forgotten. Every count is a positive
    multiple of `multiple`; their sum is the largest such that does not exceed `episodes`.

    Raises:
        ValueError: if there are not enough episodes for one multiple each.
    """
    units = episodes // multiple
    if units < len(success):
        raise ValueError(f"{episodes} episodes are too few for {len(success)} tasks x {multiple}")
    wanted = {task: math.sqrt(max(0.0, s * (1 - s))) + 0.1 for task, s in success.items()}
    spare = units - len(success)
    exact = {task: spare * weight / sum(wanted.values()) for task, weight in wanted.items()}
    counts = {task: 1 + math.floor(share) for task, share in exact.items()}
    by_remainder = sorted(exact, key=lambda task: math.floor(exact[task]) - exact[task])
    for task in by_remainder[: units - sum(counts.values())]:
        counts[task] += 1
    return {task: multiple * count for task, count in counts.items()}
