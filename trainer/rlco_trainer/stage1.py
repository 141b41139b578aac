"""Stage I: supervised co-training, `alpha * L_SFT(sim) + (1 - alpha) * L_SFT(real)`.

The mixture is made by drawing a sim sample with probability alpha (arXiv 2602.12628, section
III-B). `alpha = 0` with no sim store is the real-only baseline. A killed run goes on from its last
saved state and ends with the weights, bit for bit, of a run that was not killed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from rlco_datasets import spec
from torch import Tensor

from rlco_trainer import __version__
from rlco_trainer.augment import gained, shifted
from rlco_trainer.checkpoint import Lineage, save_policy
from rlco_trainer.data import SIM, Balance, open_demonstrations, tensors
from rlco_trainer.demonstrated import Augmentation
from rlco_trainer.determinism import deterministic
from rlco_trainer.frozen_frames import Drawn, FrozenFrames
from rlco_trainer.optimizers import Moments, adamw
from rlco_trainer.policies.interface import Policy
from rlco_trainer.precision import Precision, autocast, require_device, supervised_loss
from rlco_trainer.run_folder import CHECKPOINT, STATE, RunLog, claim, write_lineage
from rlco_trainer.starting import starting_policy
from rlco_trainer.stem_regression import StemRegression, required_stem
from rlco_trainer.tracking import NO_TRACKING, TrackingOptions
from rlco_trainer.training_state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_state,
)


@dataclass(frozen=True, kw_only=True)
class Stage1Config:
    """Everything that decides what a stage I run learns."""

    init: str = ""
    """Checkpoint to start from, of `rlco-train init` or an earlier stage; empty: new `compact`."""
    real: tuple[str, ...] = ()
    """Episode stores of real demonstrations."""
    sim: tuple[str, ...] = ()
    """Episode stores of sim demonstrations."""
    alpha: float = 0.5
    """Probability of drawing a sim sample; 0 trains on real data only."""
    real_limit: int = 0
    """Episodes of each task that count of each real store, from the first; 0: all."""
    balance: Balance = "steps"
    """Within real and within sim: every step is equally likely, or every task."""
    real_weights: tuple[float, ...] = ()
    """Relative weight of each real store, beside its size; empty: 1 each."""
    sim_weights: tuple[float, ...] = ()
    """Relative weight of each sim store, beside its size; empty: 1 each."""
    held_out: float = 0.0
    """Share of the real episodes kept from training, to measure the supervised loss on."""
    objective: Literal["policy", "stem"] = "policy"
    """What is trained: the policy, or first the stem of a tiny preset alone, through a regression
    of the actions (see docs/models.md)."""
    freeze_stem: bool = False
    """Keep the stem as it is in `init`, and train the rest. What it makes of every frame is then
    computed once, and kept in memory: about 5 kB a frame and copy."""
    stem_copies: int = 3
    """With freeze_stem: shifted and re-coloured copies of every frame, beside the original, that
    samples are drawn from; 0 trains on the frames as they are."""
    steps: int = 1500
    """Optimizer steps."""
    batch: int = 64
    """Samples of one forward pass."""
    accumulate: int = 1
    """Forward passes whose gradients are averaged in one optimizer step."""
    precision: Precision = "fp32"
    """Arithmetic of the forward pass; weights stay in fp32."""
    device: str = "cpu"
    """Torch device of the learner: `cpu`, `cuda` or `cuda:N`."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW; linear warm-up, then a cosine to zero."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW."""
    moments: Moments = "fp32"
    """AdamW's state, two numbers a trained weight: in float32, in 8 bits each (less memory), or in
    float32 in the host's memory (none of the GPU's, the same numbers, slower steps)."""
    grad_clip: float = 1.0
    """Largest norm of the gradient."""
    shift_px: int = 2
    """Largest random shift of an image, pixels."""
    gain: float = 0.15
    """Largest relative random gain of a colour channel."""
    ema_decay: float = 0.0
    """Decay of the averaged weights that are saved; 0 saves the last weights."""
    seed: int = 0
    """Seed of initialisation, sampling and augmentation."""
    threads: int = 2
    """Torch threads. Another number changes rounding, so it belongs to the run."""
    deterministic: bool = False
    """Refuse or replace kernels that add in changing order, as some of a GPU do; slower."""
    state_every: int = 200
    """Steps between saved resume states."""
    log_every: int = 20
    """Steps between lines of metrics."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.alpha <= 1 or not 0 <= self.ema_decay < 1:
            raise ValueError(f"alpha {self.alpha} and ema_decay {self.ema_decay} must be in [0, 1]")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must be in [0, 1), got {self.held_out}")
        for name in ("steps", "batch", "accumulate", "threads", "state_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate <= 0 or self.grad_clip <= 0:
            raise ValueError("learning_rate and grad_clip must be positive")
        for name in (
            *("real_limit", "stem_copies", "shift_px", "gain", "warmup_steps", "weight_decay"),
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.freeze_stem and (self.objective == "stem" or not self.init):
            raise ValueError("freeze_stem needs a checkpoint (init), and objective policy")


def learning_rate(config: Stage1Config, step: int) -> float:
    """Return the rate of optimizer step `step` (from 0)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class Stage1Run:
    """The moving parts of a run; `state` and `restore` cover all of them."""

    def __init__(self, config: Stage1Config) -> None:
        """Open the stores and build an untrained policy."""
        self.config = config
        self.data = open_demonstrations(
            config.real, config.sim, held_out=config.held_out, real_limit=config.real_limit
        )
        torch.manual_seed(config.seed)
        self.policy, self.parent = starting_policy(
            config.init, self.data.contract, self.data.normalisation
        )
        self.policy.to(require_device(config.device))
        if config.freeze_stem:
            required_stem(self.policy)
            self.policy.freeze_stem()
        self.learner: Policy | StemRegression = self.policy
        if config.objective == "stem":
            self.learner = StemRegression(self.policy).to(config.device)
        self.trained = [p for p in self.learner.parameters() if p.requires_grad]
        self.optimizer = adamw(
            self.trained,
            lr=config.learning_rate,
            moments=config.moments,
            weight_decay=config.weight_decay,
        )
        averaged = self.policy.state_dict() if config.ema_decay > 0 else {}
        self.average = {k: v.clone() for k, v in averaged.items()}
        self.mixture = self.data.mixture(
            config.alpha,
            config.seed,
            balance=config.balance,
            weights={"real": config.real_weights, "sim": config.sim_weights},
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.drawn_sim = 0
        self.frozen: FrozenFrames | None = None
        if config.freeze_stem:
            copies = Augmentation(
                copies=config.stem_copies,
                shift_px=config.shift_px,
                gain=config.gain,
                seed=config.seed,
            )
            self.frozen = FrozenFrames(self.policy, self.data.parts, copies, config.device)

    def state(self) -> TrainingState:
        """Return everything that the next step depends on."""
        return TrainingState(
            tensors={
                **prefixed("policy", self.policy.state_dict()),
                **prefixed("learner", self.extra()),
                **prefixed("average", self.average),
                **prefixed("optimizer", optimizer_tensors(self.optimizer)),
                "generator": self.generator.get_state(),
            },
            values={
                "step": self.step,
                "drawn_sim": self.drawn_sim,
                "mixture": self.mixture.state_dict(),
            },
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from what `state` returned."""
        self.policy.load_state_dict(state.part("policy"))
        self.learner.load_state_dict(self.learner.state_dict() | state.part("learner"))
        self.average = state.part("average")
        restore_optimizer(self.optimizer, state.part("optimizer"))
        self.generator.set_state(state.tensors["generator"])
        self.mixture.load_state_dict(state.values["mixture"])
        self.step = state.values["step"]
        self.drawn_sim = state.values["drawn_sim"]

    def extra(self) -> dict[str, Tensor]:
        """Return the tensors of what is trained that the policy does not hold."""
        if self.learner is self.policy:
            return {}
        return {k: v for k, v in self.learner.state_dict().items() if not k.startswith("stem.")}

    def update(self) -> dict[str, Tensor]:
        """Draw batches and take one optimizer step; return its named loss terms."""
        return self.descend([self.draw() for _ in range(self.config.accumulate)])

    def draw(self) -> Drawn:
        """Draw one augmented batch."""
        config = self.config
        if self.frozen is not None:
            rows = self.mixture.draw(config.batch)
            self.drawn_sim += sum(len(r) for label, (_, r) in rows.items() if label.startswith(SIM))
            return self.frozen.batch(rows, self.generator)
        batch, counts = self.mixture.next(config.batch)
        self.drawn_sim += sum(n for label, n in counts.items() if label.startswith(SIM))
        observation, actions, mask = tensors(batch)
        images = {
            name: gained(
                shifted(image, config.shift_px, self.generator), config.gain, self.generator
            )
            for name, image in observation.images.items()
        }
        observation = replace(observation, images=images).to(config.device)
        return self.learner.encode(observation), actions.to(config.device), mask.to(config.device)

    def descend(self, batches: Sequence[Drawn]) -> dict[str, Tensor]:
        """Take one optimizer step along the mean gradient of `batches`; return its mean terms."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(config.seed * 1_000_003 + self.step)  # a flow's loss draws noise
        mean: dict[str, Tensor] = {}
        for features, actions, mask in batches:
            with autocast(config.device, config.precision):
                terms = self.learner.sft_loss(features, actions, mask)
            (terms["loss"] / len(batches)).backward()
            for name, value in terms.items():
                share = value.detach() / len(batches)
                mean[name] = mean[name] + share if name in mean else share
        mean["gradient_norm"] = torch.nn.utils.clip_grad_norm_(self.trained, config.grad_clip)
        self.optimizer.step()
        self.step += 1
        if config.ema_decay > 0:
            for name, value in self.policy.state_dict().items():
                self.average[name].lerp_(value, 1 - config.ema_decay)
        return mean

    @property
    def drawn(self) -> int:
        """How many samples were drawn so far."""
        return self.step * self.config.batch * self.config.accumulate

    def held_out_scalars(self) -> dict[str, float]:
        """Return the supervised loss on the held-out real episodes, if there are any."""
        if not self.data.held_out:
            return {}
        return {
            "held_out_loss": supervised_loss(self.learner, self.data.held_out, self.config.device)
        }


def run_stage1(config: Stage1Config, out: Path, tracking: TrackingOptions = NO_TRACKING) -> str:
    """Train, or go on training, in the run folder `out`; return the final checkpoint's id.

    Raises:
        DataError: if alpha and the stores do not fit together.
        RunError: if `out` holds another run, or cannot be tracked as asked.
        StoreError, ContractMismatchError: if a store cannot be used.
    """
    tracking.require()
    torch.set_num_threads(config.threads)
    with deterministic(config.deterministic):
        return _train(config, out, tracking)


def _train(config: Stage1Config, out: Path, tracking: TrackingOptions) -> str:
    run = Stage1Run(config)
    claim(out, config)
    state = load_state(out / STATE)
    if state is not None:
        run.restore(state)
    log = RunLog(
        out,
        title="stage I",
        first_step=run.step,
        total_steps=config.steps,
        tracker=tracking.open(out, config, stage="stage1"),
    )
    try:
        while run.step < config.steps:
            terms = run.update()
            if run.step % config.log_every == 0 or run.step == config.steps:
                scalars = {name: float(value.detach()) for name, value in terms.items()}
                log.write(
                    run.step,
                    {
                        **scalars,
                        "learning_rate": learning_rate(config, run.step - 1),
                        "alpha_realised": run.drawn_sim / run.drawn,
                        **run.held_out_scalars(),
                    },
                )
                log.advance(0, loss=scalars["loss"])
            log.advance()
            if run.step % config.state_every == 0 or run.step == config.steps:
                save_state(out / STATE, run.state())
        return _finish(run, out, log.wall_s)
    finally:
        log.close()


def _finish(run: Stage1Run, out: Path, wall_s: float) -> str:
    if run.config.ema_decay > 0:
        run.policy.load_state_dict(run.average)
    lineage = Lineage(
        stage="stage1",
        stores=run.data.description,
        parent_checkpoint=run.parent,
        config_hash=spec.content_hash(run.config),
        software_version=__version__,
        step=run.step,
    )
    identity = save_policy(out / CHECKPOINT, run.policy, lineage)
    write_lineage(
        out,
        {
            "stage": "stage1",
            "checkpoint_id": identity,
            "contract_id": run.data.contract.id,
            "stores": list(run.data.description),
            "alpha": run.config.alpha,
            "alpha_realised": run.drawn_sim / run.drawn,
            "config_hash": lineage.config_hash,
            "software_version": __version__,
            "wall_s": round(wall_s, 1),
        },
    )
    return identity
