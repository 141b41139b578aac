"""`rlco-calibrate`: measure a bench into a twin, check it, and look at twins."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError
from rlco_datasets.initial_condition import ConditionList
from rlco_datasets.store import StoreError

from rlco_calibration import describe
from rlco_calibration.appearance_cli import AppearanceCommand
from rlco_calibration.background_cli import BackgroundCommand
from rlco_calibration.errors import CalibrationError
from rlco_calibration.initial_states import sample
from rlco_calibration.scene_cli import (
    ClickCommand,
    MarkCommand,
    ObjectCommand,
    SceneCommand,
    TasksCommand,
)
from rlco_calibration.steps import BoardPage, Check, Factory, WalkCommand
from rlco_calibration.twin import TwinError, load_twin


@dataclass(frozen=True, kw_only=True)
class Show:
    """Print what a twin file holds: sizes, poses, tasks, and where each number came from.

    Example: rlco-calibrate show bench.yaml
    """

    twin: tyro.conf.Positional[Path]
    """The twin file (YAML)."""

    def run(self) -> None:
        """Print the twin in words."""
        print("\n".join(describe.show(load_twin(self.twin))))


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Print how the second twin differs from the first, in millimetres and degrees.

    Example: rlco-calibrate diff bench.yaml calibrated.yaml
    """

    left: tyro.conf.Positional[Path]
    """The twin file to start from (YAML)."""
    right: tyro.conf.Positional[Path]
    """The twin file to compare with it (YAML)."""

    def run(self) -> None:
        """Print the differences in words."""
        lines = describe.differences(load_twin(self.left), load_twin(self.right))
        print("\n".join(lines) if lines else "the twins are equal")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Draw initial conditions of a task from a twin and write them as YAML.

    Example: rlco-calibrate conditions --twin bench.yaml --task push_cube --n 50 --seed 1
    --out conditions.yaml
    """

    twin: Path
    """The twin file (YAML)."""
    task: str
    """The task's name, as in the twin."""
    n: int
    """How many to draw."""
    seed: int = 0
    """The same seed draws the same conditions."""
    out: Path
    """The file to write: one `ConditionList`."""

    def run(self) -> None:
        """Draw and write."""
        if self.n < 1:
            raise TwinError(f"--n must be at least 1, got {self.n}")
        twin = load_twin(self.twin)
        rng = np.random.default_rng(self.seed)
        drawn = tuple(
            sample(twin, self.task, rng, f"{self.task}-{self.seed}-{index}")
            for index in range(self.n)
        )
        spec.save(ConditionList(conditions=drawn), self.out)
        print(f"{self.out}: {self.n} starts of {self.task} in twin {twin.name}")


Command = (
    Annotated[BoardPage, tyro.conf.subcommand("board")]
    | Annotated[WalkCommand, tyro.conf.subcommand("walk")]
    | Annotated[Factory, tyro.conf.subcommand("factory")]
    | Annotated[ClickCommand, tyro.conf.subcommand("click")]
    | Annotated[ObjectCommand, tyro.conf.subcommand("object")]
    | Annotated[MarkCommand, tyro.conf.subcommand("mark")]
    | Annotated[SceneCommand, tyro.conf.subcommand("scene")]
    | Annotated[TasksCommand, tyro.conf.subcommand("tasks")]
    | Annotated[AppearanceCommand, tyro.conf.subcommand("appearance")]
    | Annotated[BackgroundCommand, tyro.conf.subcommand("background")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Diff, tyro.conf.subcommand("diff")]
    | Annotated[Conditions, tyro.conf.subcommand("conditions")]
)


def main() -> None:
    """Run the command line; a bad file is one line on stderr and exit status 2."""
    command: Command = tyro.cli(Command, prog="rlco-calibrate", description=__doc__)
    try:
        command.run()
    except (
        spec.SpecError,
        TwinError,
        CalibrationError,
        StoreError,
        ContractMismatchError,
    ) as error:
        print(f"rlco-calibrate: {error}", file=sys.stderr)
        raise SystemExit(2) from error
