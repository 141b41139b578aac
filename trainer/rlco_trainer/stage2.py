"""Stage II: PPO in the twin plus beta times the supervised loss on real demonstrations.

An iteration runs exploring episodes on the workers, fits the critic and the policy, and every few
iterations measures the policy without exploration on validation conditions. A killed run goes on
from its last finished iteration; all randomness depends on the seed and the iteration only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rlco_calibration.twin import Twin, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError

from rlco_trainer import __version__
from rlco_trainer.checkpoint import Lineage, load_policy, save_policy
from rlco_trainer.conditions import draw
from rlco_trainer.critic import Critic, fit
from rlco_trainer.demonstrated import Augmentation, Demonstrated, demonstrations
from rlco_trainer.episodes import PolicyPackage, joined
from rlco_trainer.evaluate import BatchPool, Evaluation, evaluate, run_on_pool
from rlco_trainer.policies.interface import Policy
from rlco_trainer.ppo import PpoConfig, prepare, update_policy
from rlco_trainer.run_folder import (
    BEST,
    CHECKPOINT,
    LAST,
    STATE,
    RunLog,
    claim,
    write_lineage,
)
from rlco_trainer.training_state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_state,
)

PoolFactory = Callable[[Twin, "Stage2Config", Policy], BatchPool]


@dataclass(frozen=True, kw_only=True)
class Stage2Config:
    """Everything that decides what a stage II run learns."""

    init: str = ""
    """Checkpoint folder to start from, usually that of stage I."""
    twin: str = ""
    """Twin file to train in."""
    task: str = "pick_and_place"
    """Task of the twin."""
    real: tuple[str, ...] = ()
    """Episode stores of real demonstrations, for the supervised term."""
    sim: tuple[str, ...] = ()
    """Episode stores of sim demonstrations, where sim_beta is not 0."""
    beta: float = 0.5
    """Weight of the supervised loss on real demonstrations; 0 is reinforcement learning alone."""
    sim_beta: float = 0.0
    """Weight of the supervised loss on sim demonstrations."""
    iterations: int = 40
    """Rounds of rollout and update."""
    episodes: int = 192
    """Exploring episodes an iteration."""
    max_steps: int = 60
    """Time limit of an episode, control periods."""
    shaping: float = 0.0
    """Weight of the task's shaped reward, as a potential; 0 is sparse success alone."""
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
    """Validation conditions; the same for the whole run, and never those of `rlco-train eval`."""
    final: Literal["best", "last"] = "best"
    """Which checkpoint is final: best on the validation conditions, or the last."""
    seed: int = 0
    """Seed of conditions, exploration and minibatches."""
    workers: int = 2
    """Rollout processes."""
    envs: int = 8
    """Scenes in each rollout process."""
    threads: int = 2
    """Torch threads of the learner."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
    """Numbers of the update."""

    def __post_init__(self) -> None:
        """Check ranges and that what is asked for is given."""
        for name in ("iterations", "episodes", "max_steps", "evaluate_every", "workers", "envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if min(self.evaluation_episodes, self.threads) < 1:
            raise ValueError("evaluation_episodes and threads must be at least 1")
        for name in ("beta", "sim_beta", "shaping", "augmented_copies", "shift_px", "gain"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.init or not self.twin:
            raise ValueError("give a checkpoint to start from (init) and a twin file (twin)")
        for weight, stores in (("beta", "real"), ("sim_beta", "sim")):
            if getattr(self, weight) > 0 and not getattr(self, stores):
                raise ValueError(
                    f"{weight} {getattr(self, weight)} asks for {stores} demonstrations: give "
                    f"--{stores}, or set {weight} to 0"
                )


class _Run:
    """The moving parts of a run; `state` and `restore` cover all of them."""

    def __init__(self, config: Stage2Config) -> None:
        self.config = config
        self.twin = load_twin(config.twin)
        self.instruction = self.twin.task(config.task).instruction
        loaded = load_policy(config.init)
        if self.twin.contract_id != loaded.card.contract.id:
            raise ContractMismatchError(
                f"twin {config.twin} was made for contract {self.twin.contract_id}, checkpoint "
                f"{config.init} for {loaded.card.contract.name!r} ({loaded.card.contract.id}). "
                "Use a twin and a checkpoint of one contract."
            )
        self.parent = loaded.checkpoint_id
        self.policy = loaded.policy
        if not config.train_trunk:
            self.policy.freeze_trunk()
        self.demonstrated, self.stores = _demonstrations(config, self.policy)
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=config.ppo.learning_rate, foreach=True)
        self.critic: Critic | None = None
        self.critic_optimizer: torch.optim.Optimizer | None = None
        self.iteration = 0
        self.episodes = 0
        self.best_rate = -1.0
        self.best_iteration = -1
        self.best = {k: v.clone() for k, v in self.policy.state_dict().items()}

    def make_critic(self, inputs: int) -> tuple[Critic, torch.optim.Optimizer]:
        """Return the critic and its optimizer, built on first use."""
        if self.critic is None or self.critic_optimizer is None:
            torch.manual_seed(self.config.seed)
            self.critic = Critic(inputs, self.config.ppo.critic_hidden)
            self.critic_optimizer = torch.optim.Adam(
                self.critic.parameters(), lr=self.config.ppo.critic_learning_rate, foreach=True
            )
        return self.critic, self.critic_optimizer

    def state(self) -> TrainingState:
        critic = {} if self.critic is None else self.critic.state_dict()
        moments = {} if self.critic_optimizer is None else optimizer_tensors(self.critic_optimizer)
        return TrainingState(
            tensors={
                **prefixed("policy", self.policy.state_dict()),
                **prefixed("best", self.best),
                **prefixed("optimizer", optimizer_tensors(self.optimizer)),
                **prefixed("critic", critic),
                **prefixed("critic_optimizer", moments),
            },
            values={
                "iteration": self.iteration,
                "episodes": self.episodes,
                "best_rate": self.best_rate,
                "best_iteration": self.best_iteration,
            },
        )

    def restore(self, state: TrainingState) -> None:
        self.policy.load_state_dict(state.part("policy"))
        self.best = state.part("best")
        restore_optimizer(self.optimizer, state.part("optimizer"))
        critic = state.part("critic")
        if critic:
            built, optimizer = self.make_critic(len(critic["mean"]))
            built.load_state_dict(critic)
            restore_optimizer(optimizer, state.part("critic_optimizer"))
        self.iteration = state.values["iteration"]
        self.episodes = state.values["episodes"]
        self.best_rate = state.values["best_rate"]
        self.best_iteration = state.values["best_iteration"]

    def iterate(self, pool: BatchPool) -> dict[str, float]:
        """Run one iteration and return what was measured."""
        config, started = self.config, time.perf_counter()
        reports = run_on_pool(
            pool,
            PolicyPackage.of(self.policy),
            draw(
                self.twin,
                config.task,
                config.episodes,
                purpose="train",
                seed=config.seed,
                round_=self.iteration,
            ),
            instruction=self.instruction,
            max_steps=config.max_steps,
            explore=True,
            seed=config.seed * 100_000 + self.iteration,
            shaping=config.shaping,
            gamma=config.ppo.gamma,
        )
        rolled = time.perf_counter()
        experience = joined([r.experience for r in reports if r.experience is not None])
        privileged = torch.from_numpy(experience.privileged)
        critic, critic_optimizer = self.make_critic(privileged.shape[1])
        if self.iteration == 0:
            critic.calibrate(privileged)
        generator = torch.Generator().manual_seed(config.seed * 100_000 + self.iteration)
        chunks = prepare(experience, critic, config.ppo, value_range=(-config.shaping, 1.0))
        critic_loss = fit(
            critic,
            critic_optimizer,
            chunks.privileged,
            chunks.returns,
            epochs=config.ppo.critic_epochs,
            minibatch=config.ppo.minibatch,
            generator=generator,
        )
        measured = update_policy(
            self.policy, self.optimizer, chunks, self.demonstrated, config.ppo, generator
        )
        outcomes = [outcome for report in reports for outcome in report.outcomes]
        self.iteration += 1
        self.episodes += len(outcomes)
        return {
            **measured,
            "critic/loss": critic_loss,
            "critic/explained_variance": 1 - critic_loss / max(float(chunks.returns.var()), 1e-9),
            "rollout/success": float(np.mean([outcome.success for outcome in outcomes])),
            "rollout/steps": float(np.mean([outcome.steps for outcome in outcomes])),
            "rollout/chunks": float(len(chunks.returns)),
            "rollout/episodes": float(self.episodes),
            "seconds/rollout": rolled - started,
            "seconds/update": time.perf_counter() - rolled,
            **{
                f"seconds/{name}": float(np.mean([report.seconds[name] for report in reports]))
                for name in reports[0].seconds
            },
        }

    def validate(self, pool: BatchPool) -> Evaluation:
        """Measure the policy without exploration; keep it if none was better so far."""
        config = self.config
        conditions = draw(
            self.twin,
            config.task,
            config.evaluation_episodes,
            purpose="validation",
            seed=config.seed,
        )
        result = evaluate(
            pool,
            PolicyPackage.of(self.policy),
            conditions,
            instruction=self.instruction,
            max_steps=config.max_steps,
        )
        if result.success_rate >= self.best_rate:
            self.best_rate, self.best_iteration = result.success_rate, self.iteration
            self.best = {k: v.clone() for k, v in self.policy.state_dict().items()}
        return result


def run_stage2(config: Stage2Config, out: Path, make_pool: PoolFactory) -> str:
    """Train, or go on training, in the run folder `out`; return the final checkpoint's id.

    Raises:
        CheckpointError, TwinError, StoreError, ContractMismatchError: if an input cannot be used.
        RunError: if `out` holds another run.
    """
    torch.set_num_threads(config.threads)
    run = _Run(config)
    claim(out, config)
    state = load_state(out / STATE)
    if state is not None:
        run.restore(state)
    pool = make_pool(run.twin, config, run.policy)
    log = RunLog(out, title="stage II", first_step=run.iteration, total_steps=config.iterations)
    try:
        if state is None:
            start = run.validate(pool)
            log.write(0, {"validation/success": start.success_rate})
            save_state(out / STATE, run.state())
        while run.iteration < config.iterations:
            scalars = run.iterate(pool)
            last = run.iteration == config.iterations
            if run.iteration % config.evaluate_every == 0 or last:
                scalars["validation/success"] = run.validate(pool).success_rate
            log.write(run.iteration, scalars)
            log.advance(success=scalars["rollout/success"], best=run.best_rate)
            save_state(out / STATE, run.state())
            if run.best_iteration == run.iteration:
                _save(run, out / BEST, run.best, run.best_iteration)
        return _finish(run, out, log.wall_s)
    finally:
        log.close()
        pool.close()


def _demonstrations(
    config: Stage2Config, policy: Policy
) -> tuple[list[Demonstrated], tuple[str, ...]]:
    """Encode the stores of each term whose weight is not 0."""
    augmentation = Augmentation(
        copies=config.augmented_copies,
        shift_px=config.shift_px,
        gain=config.gain,
        seed=config.seed,
    )
    found: list[Demonstrated] = []
    stores: tuple[str, ...] = ()
    if config.beta > 0:
        real, lines = demonstrations(policy, augmentation, config.beta, real=config.real)
        found, stores = [*found, real], stores + lines
    if config.sim_beta > 0:
        sim, lines = demonstrations(policy, augmentation, config.sim_beta, sim=config.sim)
        found, stores = [*found, sim], stores + lines
    return found, stores


def _save(run: _Run, path: Path, weights: dict[str, torch.Tensor], iteration: int) -> str:
    """Write weights of this run as a checkpoint; the run's policy stays as it is."""
    now = {k: v.clone() for k, v in run.policy.state_dict().items()}
    weights = {k: v.clone() for k, v in weights.items()}
    lineage = Lineage(
        stage="stage2",
        stores=run.stores,
        twin_id=run.twin.id,
        parent_checkpoint=run.parent,
        config_hash=spec.content_hash(run.config),
        software_version=__version__,
        task=run.config.task,
        step=iteration,
    )
    measured = {"validation_success": run.best_rate} if iteration == run.best_iteration else {}
    run.policy.load_state_dict(weights)
    identity = save_policy(path, run.policy, lineage, measured)
    run.policy.load_state_dict(now)
    return identity


def _finish(run: _Run, out: Path, wall_s: float) -> str:
    config = run.config
    identities = {
        BEST: _save(run, out / BEST, run.best, run.best_iteration),
        LAST: _save(run, out / LAST, run.policy.state_dict(), run.iteration),
    }
    chosen = {BEST: (run.best, run.best_iteration), LAST: (run.policy.state_dict(), run.iteration)}
    _save(run, out / CHECKPOINT, *chosen[config.final])
    write_lineage(
        out,
        {
            "stage": "stage2",
            "checkpoint_id": identities[config.final],
            "final": config.final,
            "best_iteration": run.best_iteration,
            "best_validation_success": run.best_rate,
            "parent_checkpoint": run.parent,
            "twin_id": run.twin.id,
            "task": config.task,
            "contract_id": run.policy.contract.id,
            "stores": list(run.stores),
            "beta": config.beta,
            "episodes": run.episodes,
            "config_hash": spec.content_hash(config),
            "software_version": __version__,
            "wall_s": round(wall_s, 1),
        },
    )
    return identities[config.final]
