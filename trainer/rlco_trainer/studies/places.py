"""Where a seed's runs and results lie, and the names of the steps that a study takes there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlco_calibration.twin import demo_bench
from rlco_datasets import spec

from rlco_trainer.studies.arms import Arm, Bench, Study, StudyName, Test

TEST_SEED, TRIAL_SEED = 50_000, 90_000
"""What is added to a seed, so that test starts and trial starts share nothing."""

DEFAULT_PRESET = "compact"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything a study spends."""

    tasks: tuple[str, ...] = ("pick_and_place", "push_cube", "open_drawer", "close_drawer")
    """Tasks, learnt together by one policy of each arm."""
    twin: Path = field(default_factory=demo_bench)
    """The training twin."""
    preset: str = DEFAULT_PRESET
    """Policy that every arm trains, as in `rlco-train init --preset`."""
    gap: float = 1.0
    """How far the hidden lab is from it (1 = camera 2-3 cm and 2 degrees, other physics)."""
    collected: int = 20
    """Real demonstrations collected of each task; an arm uses the first ones of them."""
    sim_demos: int = 150
    """Sim demonstrations of each task."""
    stage1_steps: int = 3000
    """Gradient steps of stage I."""
    batch: int = 128
    """Samples of a stage I step."""
    iterations: int = 40
    """PPO iterations of stage II."""
    episodes: int = 192
    """Exploring episodes of an iteration, over all tasks."""
    sim_episodes: int = 100
    """Episodes of the final evaluation in the twin, of each task."""
    trials: int = 30
    """Initial conditions in the lab of each task; each arm meets each once. 0: twin only."""
    time_limit_s: float = 6.0
    """A trial fails after this time."""

    def settings(self) -> dict[str, Any]:
        """Return them as a journal keeps them: without a preset, as before there was a choice."""
        plain = spec.to_plain(self)
        if self.preset == DEFAULT_PRESET:
            del plain["preset"]
        return plain


class SeedFolder:
    """The files of one seed below `folder`; nothing here is written or need be there."""

    def __init__(self, folder: Path, sizes: Sizes, seed: int) -> None:
        """Name the folder, what is spent in it, and its seed."""
        self.folder, self.sizes, self.seed = folder, sizes, seed

    def lab(self, test: Test = "") -> Path:
        """Return the hidden lab's file, which only the lab may read."""
        objects = "-unseen-objects" if test == "unseen objects" else ""
        return self.folder / "lab" / f"hidden{objects}.yaml"

    def store(self, kind: str, task: str, bench: Bench = "") -> Path:
        """Return the demonstrations of a task, `real` or `sim`."""
        return self.folder / f"{kind}-{task}{suffix(bench, '-in-')}.zarr"

    def bench(self, bench: Bench) -> Path:
        """Return the twin file that arms of a bench train in."""
        if bench == "recovered":
            return self.folder / "calibration" / "twin.yaml"
        return self.folder / "uncalibrated.yaml" if bench == "uncalibrated" else self.sizes.twin

    def around(self, test: Test) -> Path:
        """Return the twin file whose objects a test is about."""
        if test == "unseen objects":
            return self.folder / "unseen-objects.yaml"
        return self.sizes.twin

    def unseen_starts(self, task: str, purpose: int) -> Path:
        """Return the file of a task's unseen starts, for `TEST_SEED` or `TRIAL_SEED`."""
        return self.folder / f"unseen-starts-{task}-{purpose}.yaml"

    def trial_starts(self, task: str, test: Test) -> Path:
        """Return the file of the starts of a task's trials."""
        if test == "unseen starts":
            return self.unseen_starts(task, TRIAL_SEED)
        return self.folder / "trials" / f"conditions-{task}{suffix(test)}.yaml"

    @property
    def untrained(self) -> Path | None:
        """The checkpoint that stage I starts from; None for `compact`, which it builds itself."""
        return None if self.sizes.preset == DEFAULT_PRESET else self.folder / "init"

    def sim_results(self, arm: Arm, test: Test = "") -> Path:
        """Return the folder of an arm's evaluation in the twin: TASK.json for each task."""
        return self.folder / "sim" / f"{arm.folder}{suffix(test)}"

    def lab_folder(self, name: str, task: str, test: Test = "") -> Path:
        """Return where the lab trials of a study are kept."""
        return self.folder / "trials" / f"{name}-{task}{suffix(test)}"

    def steps_of(self, name: StudyName, study: Study) -> tuple[str, ...]:
        """Return the journal's names of all that a study does here, shared steps included."""
        tasks = self.sizes.tasks
        found = ["lab", *(f"real-{task}" for task in tasks)]
        if self.untrained is not None:
            found.append(self.untrained.name)
        if set(study.benches) - {""}:
            found += ["calibrate", "uncalibrated"]
        found += [self.store("sim", task, bench).stem for bench in study.benches for task in tasks]
        if "unseen objects" in study.tests:
            found += ["unseen-objects", "lab-unseen-objects"]
        found += [folder for arm in study.arms for folder in (arm.stage1_folder, arm.folder)]
        found += self.twin_steps(study)
        for test in study.tests:
            if test == "unseen starts":
                found += [self.unseen_starts(task, TEST_SEED).stem for task in tasks]
            if self.sizes.trials > 0:
                found += [f"plan-{self.lab_folder(name, task, test).name}" for task in tasks]
                found += [self.trial_starts(task, test).stem for task in tasks]
        return tuple(dict.fromkeys([*found, *self.lab_steps(name, study)]))

    def twin_steps(self, study: Study) -> list[str]:
        """Return the steps after which all of a study's rows of the twin are there."""
        cells = itertools.product(study.tests, study.arms)
        return [evaluation(self.sim_results(arm, test)) for test, arm in cells]

    def lab_steps(self, name: StudyName, study: Study) -> list[str]:
        """Return the steps after which all of a study's rows of the lab are there."""
        cells = itertools.product(study.tests, self.sizes.tasks) if self.sizes.trials > 0 else ()
        return [f"trials-{self.lab_folder(name, task, test).name}" for test, task in cells]


def evaluation(results: Path) -> str:
    """Return the name of the step that evaluates an arm in the twin, from its results' folder."""
    return f"eval-{results.name}"


def suffix(name: str, before: str = "-") -> str:
    """Return what a name adds to a file's name: nothing for the usual."""
    return before + name.replace(" ", "-") if name else ""
