"""`rlco-train`: from episode stores and a twin to a checkpoint that is worth serving."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NoReturn

import tyro
from rlco_calibration.twin import Twin, TwinError, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError
from rlco_datasets.store import StoreError
from rlco_evaluation.blinding import BlindingError
from rlco_evaluation.ledger import LedgerError

from rlco_trainer.checkpoint import CheckpointError, read_card
from rlco_trainer.data import DataError
from rlco_trainer.eval_command import Eval
from rlco_trainer.evaluate import BatchPool
from rlco_trainer.export import Stored, Weights, export, verify
from rlco_trainer.optimizers import Moments
from rlco_trainer.policies.interface import Policy
from rlco_trainer.policies.memory import estimate
from rlco_trainer.policies.public_weights import WeightsError
from rlco_trainer.precision import DeviceError
from rlco_trainer.run_folder import RunError
from rlco_trainer.sim import SimError, make_pool, write_demonstrations
from rlco_trainer.stage1 import Stage1Config, run_stage1
from rlco_trainer.stage2 import run_stage2
from rlco_trainer.stage2_config import Stage2Config
from rlco_trainer.studies.cli import StudyCommand
from rlco_trainer.studies.report import StudyReportCommand
from rlco_trainer.studies.results import UnfinishedError
from rlco_trainer.studies.robot import RobotError
from rlco_trainer.studies.steps import StepFailedError
from rlco_trainer.tracking import TrackingOptions
from rlco_trainer.training_state import StateError
from rlco_trainer.untrained import contract_named, write_untrained

CONFIG_FLAG = "--config"


@dataclass(frozen=True, kw_only=True)
class Init:
    """Write a checkpoint without any training of ours: random, or with a public model's weights.

    In: a contract, and for a public model its downloaded safetensors and tokenizer. Out: a
    checkpoint folder, to start stage I from (`rlco-train stage1 --init`).
    Presets: compact, pi05-tiny, pi05-3b, pi05-3b-24gb, openvla-tiny, openvla-7b, openvla-7b-24gb.
    Example: rlco-train init --preset pi05-tiny --contract franka_compact --out runs/pi05-tiny
    """

    out: Path
    """Folder of the checkpoint; an existing checkpoint there is replaced."""
    preset: str = "compact"
    """Policy family and size."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    seed: int = 0
    """Seed of the weights."""
    tokenizer: str = ""
    """Folder or hub id of a tokenizer, in place of the preset's; `words` is the built-in one."""
    public_weights: Path | None = None
    """Safetensors of a public pi0.5 or OpenVLA checkpoint: a file, or a folder of them."""
    stem: Path | None = None
    """Tiny presets: a checkpoint of `rlco-train stage1 --objective stem`, of either family, whose
    convolutions to start from."""

    def run(self) -> None:
        """Write it and print its id."""
        identity = write_untrained(
            self.preset,
            contract_named(self.contract),
            self.out,
            self.seed,
            tokenizer=self.tokenizer,
            public_weights=self.public_weights,
            stem=self.stem,
        )
        print(f"{self.out}: {self.preset} checkpoint {identity}")


@dataclass(frozen=True, kw_only=True)
class Stage1:
    """Stage I: supervised training on a mix of real and sim demonstrations.

    In: episode stores. Out: a run folder with config.yaml, metrics.jsonl, tensorboard/, run.json,
    checkpoint/ and state/. The same command goes on after a kill. `--config FILE` starts from the
    values of an earlier run's config.yaml. `--init` starts from a checkpoint of any family.
    Example: rlco-train stage1 --real data/real --sim data/sim --alpha 0.5 --out runs/stage1
    """

    out: Path
    """The run folder."""
    config: tyro.conf.OmitArgPrefixes[Stage1Config]
    tracking: TrackingOptions = field(default_factory=TrackingOptions)

    def run(self) -> None:
        """Say what memory a large family takes, train, and print the checkpoint's id."""
        if self.config.init:
            _print_memory(self.config.init, self.config.batch, moments=self.config.moments)
        identity = run_stage1(self.config, self.out, self.tracking)
        print(f"{self.out}/checkpoint: {identity}")


@dataclass(frozen=True, kw_only=True)
class Stage2:
    """Stage II: PPO in the twin plus beta times the supervised loss on real demonstrations.

    In: a checkpoint, a twin file and stores of real demonstrations. Out: a run folder like that of
    stage I, with best/ and last/ beside checkpoint/. The same command goes on after a kill.
    `--config FILE` starts from the values of an earlier run's config.yaml.
    Example: rlco-train stage2 --init runs/stage1/checkpoint --twin bench.yaml --task pick_and_place
    --real data/real --beta 0.5 --iterations 40 --out runs/stage2
    """

    out: Path
    """The run folder."""
    config: tyro.conf.OmitArgPrefixes[Stage2Config]
    tracking: TrackingOptions = field(default_factory=TrackingOptions)

    def run(self) -> None:
        """Say what memory a large family takes, train, and print the checkpoint's id."""
        _print_memory(
            self.config.init,
            self.config.step_samples,
            moments=self.config.moments,
            train_trunk=self.config.train_trunk,
        )
        identity = run_stage2(self.config, self.out, _pool_of, self.tracking)
        print(f"{self.out}/checkpoint: {identity}")


@dataclass(frozen=True, kw_only=True)
class Demos:
    """Sim demonstrations: successful episodes in a twin, with the success rate of making them.

    They come from the scripted expert, or with --sources from recorded demonstrations: these are
    replayed in the twin, cut into legs that are each about one object, and the legs are moved to
    new starts. In: a twin file. Out: an episode store; one of the same contract is appended to.
    Example: rlco-train demos --twin bench.yaml --task pick_and_place --episodes 200 --out data/sim
    Example: rlco-train demos --twin bench.yaml --sources data/real --episodes 500 --out data/sim
    """

    twin: Path
    """The twin file."""
    out: Path
    """The episode store."""
    task: str = "pick_and_place"
    """Task of the twin."""
    episodes: int = 200
    """Successful episodes to make."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    sources: tuple[Path, ...] = ()
    """Stores of demonstrations to move to new starts; the scripted expert acts if none is given."""
    randomise: bool = False
    """Make them in benches drawn within the twin's stated uncertainties, a new one every few."""
    seed: int = 0
    """Seed of initial conditions and of the noise on what is executed."""
    workers: int = 2
    """Processes; 1: this one."""

    def run(self) -> None:
        """Make them, showing progress."""
        made = write_demonstrations(
            load_twin(self.twin),
            contract_named(self.contract),
            self.task,
            self.out,
            episodes=self.episodes,
            seed=self.seed,
            workers=self.workers,
            sources=self.sources,
            randomise=self.randomise,
        )
        print(
            f"{self.out}: {made.in_store} episodes; {made.episodes} of {made.attempts} attempts "
            f"solved the task ({made.success_rate:.1%})"
        )


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a checkpoint as a folder that others can check, load and serve.

    In: a checkpoint, or a run's folder. Out: a folder that is a checkpoint too, with contract,
    normalisation, tokenizer, lineage, and a README with the hashes and how to serve it. With
    --verify and no --checkpoint, an export that is there is checked.
    Example: rlco-train export --checkpoint runs/rlco --out runs/rlco-policy --verify
    """

    out: Path
    """The folder; an earlier export there is replaced."""
    checkpoint: Path | None = None
    """Checkpoint folder, or folder of a run."""
    weights: Weights = "final"
    """Of a run: its final, best or last checkpoint, or the running average (EMA) or the raw weights
    of its last saved state."""
    precision: Stored = "fp32"
    """Number format on disk; bf16 halves the file and rounds the weights."""
    merge: bool = True
    """Add low-rank adapters to the weights that they adapt; the result is float32 once loaded,
    twice the memory of adapters on bfloat16 weights."""
    verify: bool = False
    """Load the export and compare its actions on fixed inputs; exit status 2 if they differ."""

    def run(self) -> None:
        """Write it, check it, or both."""
        if self.checkpoint is None and not self.verify:
            raise CheckpointError("give --checkpoint to export, or --verify to check --out")
        if self.checkpoint is not None:
            identity = export(
                self.checkpoint,
                self.out,
                weights=self.weights,
                stored=self.precision,
                merge=self.merge,
            )
            print(f"{self.out}: checkpoint {identity}")
        if self.verify:
            found = verify(self.out)
            if not found.passed:
                raise CheckpointError(f"{self.out}: {found}")
            print(f"{self.out}: {found}")


def _print_memory(
    checkpoint: str, batch: int, *, moments: Moments, train_trunk: bool = True
) -> None:
    card = read_card(checkpoint)
    if card.family != "compact":
        needed = estimate(
            card.family,
            card.architecture,
            card.contract,
            batch,
            moments=moments,
            train_trunk=train_trunk,
        )
        print(f"{checkpoint} ({card.family}): {needed}")


def _pool_of(twin: Twin, config: Stage2Config, policy: Policy) -> BatchPool:
    return make_pool(
        twin, policy.contract, config.tasks[0], workers=config.workers, envs=config.envs
    )


AnyCommand = Init | Demos | Stage1 | Stage2 | Eval | Export | StudyCommand | StudyReportCommand
Command = (
    Annotated[Init, tyro.conf.subcommand("init")]
    | Annotated[Demos, tyro.conf.subcommand("demos")]
    | Annotated[Stage1, tyro.conf.subcommand("stage1")]
    | Annotated[Stage2, tyro.conf.subcommand("stage2")]
    | Annotated[Eval, tyro.conf.subcommand("eval")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[StudyCommand, tyro.conf.subcommand("study")]
    | Annotated[StudyReportCommand, tyro.conf.subcommand("study-report")]
)
USER_ERRORS = (
    CheckpointError,
    ContractMismatchError,
    DataError,
    BlindingError,
    DeviceError,
    LedgerError,
    RobotError,
    RunError,
    SimError,
    StateError,
    StepFailedError,
    UnfinishedError,
    spec.SpecError,
    StoreError,
    TwinError,
    WeightsError,
)


def parse(args: list[str]) -> AnyCommand:
    """Return the command of an argument list; `--config FILE` supplies the defaults.

    Raises:
        ValueError: if a value is out of its range.
        SpecError: if the `--config` file is missing or malformed.
    """
    if args and args[0] in ("stage1", "stage2") and CONFIG_FLAG in args[1:]:
        position = args.index(CONFIG_FLAG)
        if position + 1 == len(args):
            raise spec.SpecError(f"{CONFIG_FLAG} needs the path of a config.yaml")
        path, rest = args[position + 1], args[1:position] + args[position + 2 :]
        prog = f"rlco-train {args[0]}"
        if args[0] == "stage1":
            first = Stage1(out=tyro.MISSING, config=spec.load(Stage1Config, path))
            return tyro.cli(Stage1, args=rest, default=first, prog=prog)
        second = Stage2(out=tyro.MISSING, config=spec.load(Stage2Config, path))
        return tyro.cli(Stage2, args=rest, default=second, prog=prog)
    return tyro.cli(Command, args=args, prog="rlco-train", description=__doc__)


def main(args: list[str] | None = None) -> None:
    """Run one command; an error of the user's making is one line and exit code 2, Ctrl-C 130."""
    try:
        command = parse(sys.argv[1:] if args is None else args)
    except ValueError as error:
        _fail(str(error))
    try:
        command.run()
    except USER_ERRORS as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("rlco-train: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(
            f"{error.filename or 'disk'}: no space left on the device. Free some and run the same "
            "command again; it goes on from the last saved state."
        )


def _fail(message: str) -> NoReturn:
    print(f"rlco-train: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)
