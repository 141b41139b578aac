"""`rlco-train study`: one of the paper's tables or figures, from nothing to CSV, table, picture."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from rlco_trainer.atomic import write_text
from rlco_trainer.studies.arms import Arm, Study, StudyName, Usual, controls, study
from rlco_trainer.studies.figure import draw
from rlco_trainer.studies.jobs import at_once, interrupted_by_sigterm
from rlco_trainer.studies.pipeline import Seed
from rlco_trainer.studies.places import CONTROLS, Sizes
from rlco_trainer.studies.results import Row, UnfinishedError, markdown, rows_of, write_csv
from rlco_trainer.studies.robot import Robot, contract_for, load_robot
from rlco_trainer.studies.steps import Children, StepFailedError
from rlco_trainer.studies.trials import Due, evaluate_in_reality


@dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """Run one of the paper's studies: a table, a figure and its numbers.

    In: nothing but sizes, for a simulated lab that is drawn from each seed; or --robot, a YAML file
    that names a bench's demonstrations, twin and ledgers. Out: OUT/seed-N with every run, shared by
    all studies there, and OUT/STUDY/results.csv, table.md and figure.png. The same command goes on
    after a kill, and with a robot once it has run its trials.
    Example: rlco-train study main-table --seeds 0 1 2 --jobs 2 --out runs/studies
    """

    name: tyro.conf.Positional[StudyName]
    """Which study."""
    out: Path = Path("runs/studies")
    """Folder of all studies of the same sizes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One lab, one set of demonstrations and one training run of each arm per seed. A robot's
    demonstrations are the same for each."""
    jobs: int = 1
    """Seeds at a time. With more than one, a step shows as one line, and what it says is in
    OUT/seed-N/logs."""
    robot: Path | None = None
    """YAML file of a real bench, in place of the simulated lab (see docs/training.md)."""
    usual: tyro.conf.OmitArgPrefixes[Usual] = field(default_factory=Usual)
    sizes: tyro.conf.OmitArgPrefixes[Sizes] = field(default_factory=Sizes)

    def run(self) -> None:
        """Do what is not done yet; print the table.

        Raises:
            StepFailedError: if a step fails, or too few demonstrations are to be collected.
            RobotError: if the robot's file does not name what the study needs.
            UnfinishedError: once trials are locked that the robot is still to run.
        """
        chosen = study(self.name, self.usual)
        bench = load_robot(self.robot) if self.robot else None
        self._check(chosen, bench)
        contract = contract_for(bench, self.sizes.tasks, chosen) if bench else None
        sizes = replace(self.sizes, twin=Path(bench.twin)) if bench else self.sizes
        children = Children()

        def one(number: int) -> tuple[Seed, tuple[Due, ...]]:
            name = f"seed {number}" if self.jobs > 1 else ""
            if not name:
                print(f"\n==== {self.name}, seed {number}", flush=True)
            seed = Seed(
                self.out / f"seed-{number}",
                sizes,
                number,
                robot=bench,
                contract=contract,
                name=name,
                children=children,
            )
            return seed, self._run_seed(seed, chosen)

        with interrupted_by_sigterm():
            found = at_once(one, self.seeds, self.jobs, children)
        due = [item for _, left in found for item in left]
        if due:
            print("\n==== To be run on the robot\n\n" + "\n\n".join(map(str, due)))
            raise UnfinishedError(
                f"{len(due)} ledgers are not complete. Run the commands above on the robot's side, "
                "each pair at the same time, then this command again: it goes on with the results."
            )
        self._write(chosen, [row for seed, _ in found for row in rows_of(self.name, chosen, seed)])

    def _check(self, chosen: Study, bench: Robot | None) -> None:
        wanted = max(arm.real_demos for arm in chosen.arms)
        if bench is None and wanted > self.sizes.collected:
            raise StepFailedError(
                f"{self.name} uses up to {wanted} real demonstrations a task, and --collected "
                f"is {self.sizes.collected}. Collect more, or lower --real-demos."
            )
        if self.jobs < 1 or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise StepFailedError(
                f"--jobs must be at least 1 and --seeds each named once, got {self.jobs} and "
                f"{list(self.seeds)}"
            )

    def _run_seed(self, seed: Seed, chosen: Study) -> tuple[Due, ...]:
        """Do what is not done of a seed; return what a robot is to run."""
        seed.collect(chosen.benches, chosen.tests)
        for arm in chosen.policies:
            seed.train(arm)
            for test in chosen.tests:
                seed.evaluate_in_twin(arm, test)
        if self.sizes.trials == 0:
            return ()
        tried: list[tuple[str, tuple[Arm, ...]]] = [(self.name, chosen.arms)]
        if chosen.controls:
            tried.append((CONTROLS, controls(self.usual)))
        return tuple(
            due
            for (name, arms), test in itertools.product(tried, chosen.tests)
            for due in evaluate_in_reality(seed, name, arms, test)
        )

    def _write(self, chosen: Study, rows: list[Row]) -> None:
        at = self.out / self.name
        at.mkdir(parents=True, exist_ok=True)
        write_csv(rows, at / "results.csv")
        table = markdown(chosen, rows)
        write_text(at / "table.md", table)
        draw(chosen, rows, at / "figure.png")
        print(f"\n{table}\n{at}: results.csv, table.md, figure.png")
