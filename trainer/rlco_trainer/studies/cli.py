"""`rlco-train study`: one of the paper's tables or figures, from nothing to CSV, table, picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from rlco_trainer.atomic import write_text
from rlco_trainer.studies.arms import StudyName, Usual, study
from rlco_trainer.studies.figure import draw
from rlco_trainer.studies.pipeline import Seed
from rlco_trainer.studies.places import Sizes
from rlco_trainer.studies.results import markdown, rows_of, write_csv
from rlco_trainer.studies.steps import StepFailedError


@dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """Run one of the paper's studies in a simulated lab: a table, a figure and its numbers.

    In: nothing but sizes. Out: OUT/seed-N with every run, shared by all studies there, and
    OUT/STUDY/results.csv, table.md and figure.png. The same command goes on after a kill.
    Example: rlco-train study main-table --seeds 0 1 2 --out runs/studies
    """

    name: tyro.conf.Positional[StudyName]
    """Which study."""
    out: Path = Path("runs/studies")
    """Folder of all studies of the same sizes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One lab, one set of demonstrations and one training run of each arm per seed."""
    usual: tyro.conf.OmitArgPrefixes[Usual] = field(default_factory=Usual)
    sizes: tyro.conf.OmitArgPrefixes[Sizes] = field(default_factory=Sizes)

    def run(self) -> None:
        """Do what is not done yet; print the table."""
        chosen = study(self.name, self.usual)
        wanted = max(arm.real_demos for arm in chosen.arms)
        if wanted > self.sizes.collected:
            raise StepFailedError(
                f"{self.name} uses up to {wanted} real demonstrations a task, and --collected "
                f"is {self.sizes.collected}. Collect more, or lower --real-demos."
            )
        rows = []
        for number in self.seeds:
            print(f"\n==== {self.name}, seed {number}", flush=True)
            seed = Seed(self.out / f"seed-{number}", self.sizes, number)
            seed.collect(chosen.benches, chosen.tests)
            for arm in chosen.arms:
                seed.train(arm)
                for test in chosen.tests:
                    seed.evaluate_in_twin(arm, test)
            if self.sizes.trials > 0:
                for test in chosen.tests:
                    seed.evaluate_in_lab(self.name, chosen.arms, test)
            rows += rows_of(self.name, chosen, seed)
        at = self.out / self.name
        at.mkdir(parents=True, exist_ok=True)
        write_csv(rows, at / "results.csv")
        table = markdown(chosen, rows)
        write_text(at / "table.md", table)
        draw(chosen, rows, at / "figure.png")
        print(f"\n{table}\n{at}: results.csv, table.md, figure.png")
