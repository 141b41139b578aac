"""Stage II: PPO in the twin plus beta times the supervised loss on real demonstrations.

An iteration runs exploring episodes on the workers, fits the critics and the policy, and every few
iterations measures the policy without exploration on validation conditions. A killed run goes on
from its last finished iteration; all randomness depends on the seed and the iteration only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rlco_calibration.twin import Twin, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError

from rlco_trainer import __version__
from rlco_trainer.checkpoint import Lineage, load_policy, save_policy
from rlco_trainer.conditions import draw, narrowed
from rlco_trainer.data import REAL, Demonstrations
from rlco_trainer.demonstrated import Augmentation, Demonstrated, demonstrations
from rlco_trainer.determinism import deterministic
from rlco_trainer.episodes import EpisodeReport, PolicyPackage
from rlco_trainer.evaluate import BatchPool, Job, evaluate, run_on_pool
from rlco_trainer.judging import Judge
from rlco_trainer.optimizers import adamw
from rlco_trainer.policies.interface import Policy
from rlco_trainer.ppo import adapted_beta, gradient_norms, update_policy
from rlco_trainer.precision import autocast, require_device, supervised_loss
from rlco_trainer.run_folder import (
    BEST,
    CHECKPOINT,
    LAST,
    STATE,
    RunLog,
    claim,
    write_lineage,
)
from rlco_trainer.stage2_config import Stage2Config, deal
from rlco_trainer.tracking import NO_TRACKING, TrackingOptions
from rlco_trainer.training_state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_state,
)

PoolFactory = Callable[[Twin, Stage2Config, Policy], BatchPool]
PRIOR_SUCCESS = 0.5
"""Assumed of a task that was not yet tried, when episodes are dealt out."""


class _Run:
    """The moving parts of a run; `state` and `restore` cover all of them."""

    def __init__(self, config: Stage2Config) -> None:
        self.config = config
        self.twin = load_twin(config.twin)
        self.instructions = {task: self.twin.task(task).instruction for task in config.tasks}
        loaded = load_policy(config.init)
        if self.twin.contract_id != loaded.card.contract.id:
            raise ContractMismatchError(
                f"twin {config.twin} was made for contract {self.twin.contract_id}, checkpoint "
                f"{config.init} for {loaded.card.contract.name!r} ({loaded.card.contract.id}). "
                "Use a twin and a checkpoint of one contract."
            )
        self.parent = loaded.checkpoint_id
        self.policy = loaded.policy.to(require_device(config.device))
        if not config.train_trunk:
            self.policy.freeze_trunk()
        self.demonstrated, opened = _demonstrations(config, self.policy)
        self.stores = tuple(line for demos in opened for line in demos.description)
        self.held_out = tuple(part for demos in opened for part in demos.held_out)
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = adamw(trained, lr=config.ppo.learning_rate, moments=config.moments)
        self.judge = Judge(config, self.policy)
        self.success = dict.fromkeys(config.tasks, PRIOR_SUCCESS)
        self.beta = config.beta
        self.iteration = 0
        self.episodes = 0
        self.best_rate = -1.0
        self.best_iteration = -1
        self.best = {k: v.clone() for k, v in self.policy.state_dict().items()}
        self.lowest_loss = float("inf")
        self.waited = 0

    def state(self) -> TrainingState:
        return TrainingState(
            tensors={
                **prefixed("policy", self.policy.state_dict()),
                **prefixed("best", self.best),
                **prefixed("optimizer", optimizer_tensors(self.optimizer)),
                **prefixed("critics", self.judge.critics.tensors()),
            },
            values={name: getattr(self, name) for name in _COUNTERS},
        )

    def restore(self, state: TrainingState) -> None:
        self.policy.load_state_dict(state.part("policy"))
        self.best = state.part("best")
        restore_optimizer(self.optimizer, state.part("optimizer"))
        self.judge.critics.restore(state.part("critics"))
        for name in _COUNTERS:
            setattr(self, name, state.values[name])

    def iterate(self, pool: BatchPool) -> dict[str, float]:
        """Run one iteration and return what was measured."""
        config, started = self.config, time.perf_counter()
        reports = self._explore(pool)
        rolled = time.perf_counter()
        generator = torch.Generator().manual_seed(config.seed * 100_000 + self.iteration)
        torch.manual_seed(config.seed * 100_000 + self.iteration)  # a flow's loss draws noise
        chunks, measured = self.judge(reports, generator)
        demos = [replace(d, weight=self.beta) if d.kind == REAL else d for d in self.demonstrated]
        measured |= {"beta": self.beta}
        measured |= gradient_norms(self.policy, chunks, demos, config.ppo, generator)
        if config.beta_ratio > 0:
            self.beta = adapted_beta(self.beta, config.beta_ratio, measured)
        measured |= update_policy(
            self.policy,
            self.optimizer,
            chunks,
            demos,
            config.ppo,
            generator,
            partial(autocast, config.device, config.precision),
        )
        outcomes = {task: [o for r in part for o in r.outcomes] for task, part in reports.items()}
        everything = [outcome for part in outcomes.values() for outcome in part]
        self.success = {
            task: float(np.mean([outcome.success for outcome in part]))
            for task, part in outcomes.items()
        }
        self.iteration += 1
        self.episodes += len(everything)
        return {
            **measured,
            **_named("rollout/success", self.success),
            "rollout/success": float(np.mean([outcome.success for outcome in everything])),
            "rollout/steps": float(np.mean([outcome.steps for outcome in everything])),
            "rollout/chunks": float(len(chunks.advantage)),
            "rollout/episodes": float(self.episodes),
            "seconds/rollout": rolled - started,
            "seconds/update": time.perf_counter() - rolled,
            **_seconds(reports, len(pool)),
        }

    def _explore(self, pool: BatchPool) -> dict[str, list[EpisodeReport]]:
        """Run the iteration's exploring episodes; return their reports by task."""
        config = self.config
        group = config.group if config.estimator == "group" else 1
        counts = deal(config.episodes, self.success, multiple=group)
        jobs = []
        for task in config.tasks:
            starts = draw(
                narrowed(self.twin, task, config.extent(self.iteration)),
                task,
                counts[task] // group,
                purpose="train",
                seed=config.seed,
                round_=self.iteration,
            )
            conditions = tuple(start for start in starts for _ in range(group))
            jobs.append(Job(task=task, instruction=self.instructions[task], conditions=conditions))
        reports = run_on_pool(
            pool,
            PolicyPackage.of(self.policy),
            jobs,
            max_steps=config.max_steps,
            explore=True,
            seed=config.seed * 100_000 + self.iteration,
            shaping=config.shaping,
            gamma=config.ppo.gamma,
            keep_last_features=config.critic == "features",
            randomised=config.randomise,
        )
        return dict(zip(config.tasks, reports, strict=True))

    def validate(self, pool: BatchPool) -> dict[str, float]:
        """Measure the policy without exploration; keep it if none was better so far."""
        config = self.config
        jobs = [
            Job(
                task=task,
                instruction=self.instructions[task],
                conditions=draw(
                    self.twin,
                    task,
                    config.evaluation_episodes // len(config.tasks),
                    purpose="validation",
                    seed=config.seed,
                ),
            )
            for task in config.tasks
        ]
        package = PolicyPackage.of(self.policy)
        results = evaluate(pool, package, jobs, max_steps=config.max_steps)
        rates = {task: result.success_rate for task, result in results.items()}
        mean = float(np.mean(list(rates.values())))
        if mean >= self.best_rate:
            self.best_rate, self.best_iteration = mean, self.iteration
            self.best = {k: v.clone() for k, v in self.policy.state_dict().items()}
        scalars = {"validation/success": mean, **_named("validation/success", rates)}
        if self.held_out:
            loss = supervised_loss(self.policy, self.held_out, config.device)
            self.waited = 0 if loss < self.lowest_loss else self.waited + 1
            self.lowest_loss = min(loss, self.lowest_loss)
            scalars["validation/held_out_loss"] = loss
        return scalars

    @property
    def finished(self) -> bool:
        """Whether all iterations are done, or the held-out loss did not fall for too long."""
        patience = self.config.patience
        return self.iteration >= self.config.iterations or 0 < patience <= self.waited


_COUNTERS = (
    *("iteration", "episodes", "best_rate", "best_iteration"),
    *("success", "beta", "lowest_loss", "waited"),
)


def _named(name: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}/{task}": value for task, value in values.items()}


def _seconds(reports: Mapping[str, Sequence[EpisodeReport]], workers: int) -> dict[str, float]:
    """Return the seconds that a worker spent on each part of the rollout, on average."""
    total: dict[str, float] = {}
    for report in (report for part in reports.values() for report in part):
        for name, value in report.seconds.items():
            total[f"seconds/{name}"] = total.get(f"seconds/{name}", 0.0) + value / workers
    return total


def run_stage2(
    config: Stage2Config,
    out: Path,
    make_pool: PoolFactory,
    tracking: TrackingOptions = NO_TRACKING,
) -> str:
    """Train, or go on training, in the run folder `out`; return the final checkpoint's id.

    Raises:
        CheckpointError, TwinError, StoreError, ContractMismatchError: if an input cannot be used.
        DeviceError: if the device asked for is not there.
        RunError: if `out` holds another run, or cannot be tracked as asked.
    """
    tracking.require()
    torch.set_num_threads(config.threads)
    with deterministic(config.deterministic):
        return _train(config, out, make_pool, tracking)


def _train(
    config: Stage2Config, out: Path, make_pool: PoolFactory, tracking: TrackingOptions
) -> str:
    run = _Run(config)
    claim(out, config)
    state = load_state(out / STATE)
    if state is not None:
        run.restore(state)
    pool = make_pool(run.twin, config, run.policy)
    log = RunLog(
        out,
        title="stage II",
        first_step=run.iteration,
        total_steps=config.iterations,
        tracker=tracking.open(out, config, stage="stage2"),
    )
    try:
        if state is None:
            log.write(0, run.validate(pool))
            save_state(out / STATE, run.state())
        while not run.finished:
            scalars = run.iterate(pool)
            last = run.iteration == config.iterations
            if run.iteration % config.evaluate_every == 0 or last:
                scalars |= run.validate(pool)
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
) -> tuple[list[Demonstrated], list[Demonstrations]]:
    """Encode the stores of each term whose weight is not 0."""
    augmentation = Augmentation(
        copies=config.augmented_copies,
        shift_px=config.shift_px,
        gain=config.gain,
        seed=config.seed,
    )
    found, opened = [], []
    for weight, stores in (
        (config.beta, {"real": config.real}),
        (config.sim_beta, {"sim": config.sim}),
    ):
        if weight > 0:
            encoded, demos = demonstrations(
                policy,
                augmentation,
                weight,
                **stores,
                held_out=config.held_out,
                real_limit=config.real_limit,
                device=config.device,
            )
            found.append(encoded)
            opened.append(demos)
    return found, opened


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
        task=" ".join(run.config.tasks),
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
            "tasks": list(config.tasks),
            "contract_id": run.policy.contract.id,
            "stores": list(run.stores),
            "beta": config.beta,
            "last_beta": run.beta,
            "stopped_early": run.iteration < config.iterations,
            "episodes": run.episodes,
            "config_hash": spec.content_hash(config),
            "software_version": __version__,
            "wall_s": round(wall_s, 1),
        },
    )
    return identities[config.final]
