"""`rlco-train`: from episode stores and a twin to a checkpoint that is worth serving."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import tyro
from rlco_calibration.twin import TwinError
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError
from rlco_datasets.store import StoreError

from rlco_trainer.checkpoint import CheckpointError
from rlco_trainer.data import DataError
from rlco_trainer.run_folder import RunError
from rlco_trainer.stage1 import Stage1Config, run_stage1
from rlco_trainer.training_state import StateError
from rlco_trainer.untrained import contract_named, write_untrained

CONFIG_FLAG = "--config"


@dataclass(frozen=True, kw_only=True)
class Init:
    """Write a randomly initialised checkpoint, for smoke and load tests.

    In: a contract. Out: a checkpoint folder.
    Example: rlco-train init --preset compact --contract franka_compact --out runs/random
    """

    out: Path
    """Folder of the checkpoint; an existing checkpoint there is replaced."""
    preset: str = "compact"
    """Policy family and size."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    seed: int = 0
    """Seed of the weights."""

    def run(self) -> None:
        """Write it and print its id."""
        identity = write_untrained(self.preset, contract_named(self.contract), self.out, self.seed)
        print(f"{self.out}: random {self.preset} checkpoint {identity}")


@dataclass(frozen=True, kw_only=True)
class Stage1:
    """Stage I: supervised training on a mix of real and sim demonstrations.

    In: episode stores. Out: a run folder with config.yaml, metrics.jsonl, tensorboard/, run.json,
    checkpoint/ and state/. The same command goes on after a kill. `--config FILE` starts from the
    values of an earlier run's config.yaml.
    Example: rlco-train stage1 --real data/real --sim data/sim --alpha 0.5 --out runs/stage1
    """

    out: Path
    """The run folder."""
    config: tyro.conf.OmitArgPrefixes[Stage1Config]

    def run(self) -> None:
        """Train and print the checkpoint's id."""
        identity = run_stage1(self.config, self.out)
        print(f"{self.out}/checkpoint: {identity}")


Command = (
    Annotated[Init, tyro.conf.subcommand("init")]
    | Annotated[Stage1, tyro.conf.subcommand("stage1")]
)
WITH_CONFIG: dict[str, tuple[type[Stage1], type[Stage1Config]]] = {
    "stage1": (Stage1, Stage1Config),
}
USER_ERRORS = (
    CheckpointError,
    ContractMismatchError,
    DataError,
    RunError,
    StateError,
    spec.SpecError,
    StoreError,
    TwinError,
)


def parse(args: list[str]) -> Init | Stage1:
    """Return the command of an argument list; `--config FILE` supplies the defaults.

    Raises:
        ValueError: if a value is out of its range.
        SpecError: if the `--config` file is missing or malformed.
    """
    if args and args[0] in WITH_CONFIG and CONFIG_FLAG in args[1:]:
        command, kind = WITH_CONFIG[args[0]]
        position = args.index(CONFIG_FLAG)
        if position + 1 == len(args):
            raise spec.SpecError(f"{CONFIG_FLAG} needs the path of a config.yaml")
        default = command(out=tyro.MISSING, config=spec.load(kind, args[position + 1]))
        rest = args[1:position] + args[position + 2 :]
        return tyro.cli(command, args=rest, default=default, prog=f"rlco-train {args[0]}")
    return tyro.cli(Command, args=args, prog="rlco-train", description=__doc__)


def main(args: list[str] | None = None) -> None:
    """Run one command; an error of the user's making is one line and exit code 2."""
    try:
        command = parse(sys.argv[1:] if args is None else args)
    except ValueError as error:
        _fail(str(error))
    try:
        command.run()
    except USER_ERRORS as error:
        _fail(str(error))
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
