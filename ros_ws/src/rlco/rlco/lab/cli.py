"""`rlco-lab`: make simulated labs, do their people's work, and grade calibrations of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from rlco_calibration.board import Board
from rlco_calibration.errors import CalibrationError
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec

from rlco.lab.draw import draw_lab
from rlco.lab.people import People
from rlco.lab.unmeasured import unmeasure
from rlco.parameters import contract_named


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Draw a hidden lab around a training twin.

    Goes in: the training twin's file. Comes out: a twin file marked hidden, which only the
    simulated lab reads; training and calibration refuse it.
    Example: `rlco-lab draw --seed 3 --gap 1.0 --out runs/lab/hidden.yaml`
    Example: `rlco-lab draw --seed 1 --unmeasured --out runs/lab/hidden.yaml`
    """

    out: Path
    """File to write the hidden twin to; an existing one is replaced."""
    twin: Path = field(default_factory=demo_bench)
    """The training twin; the demo bench if not given."""
    seed: int = 0
    """Which lab; the same seed and gap always give the same."""
    gap: float = 1.0
    """How different the lab is: 0 not at all, 1 as benches differ from their first measurement."""
    unmeasured: bool = False
    """Let differ too what a ruler measures well: lens, table height, sizes, the drawer's place. The
    lab of `rlco-lab grade` with this seed; one to calibrate from nothing."""

    def run(self) -> None:
        """Write the hidden twin."""
        lab = draw_lab(load_twin(self.twin), seed=self.seed, gap=self.gap)
        if self.unmeasured:
            lab = unmeasure(lab, seed=self.seed)
        spec.save(lab, self.out)
        print(f"{self.out}: hidden lab {lab.name} ({lab.id}), gap {self.gap:g}")


@dataclass(frozen=True, kw_only=True)
class Grade:
    """Calibrate hidden labs from nothing but what they show, and compare with the truth.

    Goes in: the training twin's file, where every calibration starts. Comes out: a folder for each
    lab (captures, results, pictures, the measured twin.yaml and the truth, hidden.yaml) and a table
    of errors, of whether stated 95% intervals hold the truth, and of OpenCV's closed-form methods
    alone; exit status 1 if a bound is missed. What is in the folder already is not done again.
    With `--over ros` each lab runs as the node `sim_lab`, and `rlco-up calibrate` collects all of
    it over topics, through the guard; else the lab runs in this process, by the same calls.
    Example: `rlco-lab grade --labs 5 --out runs/grade`
    Example: `rlco-lab grade --labs 1 --over ros --out runs/grade_ros`
    """

    out: Path
    """Folder to work in."""
    twin: Path = field(default_factory=demo_bench)
    """The training twin; the demo bench if not given."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    labs: int = 5
    """How many hidden labs."""
    first_seed: int = 1
    """Seed of the first lab; the others follow."""
    captures: int = 30
    """Captures of the board in the hand, per lab."""
    gap: float = 1.0
    """How different the labs are, as in `rlco-lab draw`."""
    workers: int = 1
    """Processes that replay motions in the twin at once, to fit arm and friction: one a core."""
    over: Literal["process", "ros"] = "process"
    """How the lab is reached: in this process, or by its ROS topics."""

    def run(self) -> None:
        """Calibrate, grade, print the table.

        A lab that cannot be calibrated is told below the table, and fails the whole.
        """
        from rlco.lab.grade import table
        from rlco.lab.grading import Grading, calibrate_and_grade

        grading = Grading(
            training=load_twin(self.twin),
            contract=contract_named(self.contract),
            board=Board(),
            captures=self.captures,
            gap=self.gap,
            workers=self.workers,
            over_ros=(self.twin, self.contract) if self.over == "ros" else None,
        )
        results, refusals = [], []
        for seed in range(self.first_seed, self.first_seed + self.labs):
            print(f"lab {seed}", file=sys.stderr)
            try:
                results.append(calibrate_and_grade(grading, seed, self.out / f"lab_{seed}", _say))
            except CalibrationError as error:
                refusals.append(f"lab {seed} was refused: {error}")
                _say(refusals[-1])
        lines, passed = table(results) if results else ([], False)
        text = "\n".join([*lines, *(f"\n{refusal}" for refusal in refusals)])
        print(text)
        (self.out / "table.md").write_text(text + "\n", encoding="utf-8")
        if refusals or not passed:
            raise SystemExit(1)


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)


def run(command: Draw | People | Grade) -> None:
    """Do what the command line asks for.

    Raises:
        ValueError: naming the file or value that is wrong.
    """
    command.run()


def main() -> None:
    """Run `rlco-lab`."""
    command = tyro.extras.subcommand_cli_from_dict(
        {"draw": Draw, "people": People, "grade": Grade}, description=__doc__
    )
    try:
        run(command)
    except (ValueError, OSError) as error:
        print(f"rlco-lab: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
