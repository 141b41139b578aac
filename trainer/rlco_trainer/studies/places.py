"""Where a seed's runs and results lie, and the names of the steps that a study takes there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlco_calibration.twin import demo_bench
from rlco_datasets import spec

from rlco_trainer.optimizers import Moments
from rlco_trainer.precision import Precision
from rlco_trainer.studies.arms import Arm, Bench, Study, StudyName, Test
from rlco_trainer.studies.recipes import DEFAULT_PRESET, Recipe, recipe_of
from rlco_trainer.studies.robot import Robot

TEST_SEED, TRIAL_SEED = 50_000, 90_000
"""What is added to a seed, so that test starts and trial starts share nothing."""
CONTROLS = "controls"
"""The name of the real trials that studies share, beside those of their own arms."""

USUAL_WORKERS = 2
USUAL_MACHINE = {"init": None, "device": "cpu", "precision": "fp32", "moments": "fp32"}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything a study spends."""

    tasks: tuple[str, ...] = ("pick_and_place", "push_cube", "open_drawer", "close_drawer")
    """Tasks, learnt together by one policy of each arm."""
    twin: Path = field(default_factory=demo_bench)
    """The training twin."""
    preset: str = DEFAULT_PRESET
    """Policy that every arm trains, as in `rlco-train init --preset`."""
    init: Path | None = None
    """Checkpoint that every arm starts from, as one of `rlco-train init` with public weights; in
    place of an untrained one of the preset."""
    device: str = "cpu"
    """Torch device of both stages."""
    precision: Precision = "fp32"
    """Arithmetic of both stages' forward passes."""
    moments: Moments = "fp32"
    """How both stages keep Adam's moments."""
    gap: float = 1.0
    """How far the hidden lab is from it (1 = camera 2-3 cm and 2 degrees, other physics)."""
    collected: int = 20
    """Real demonstrations collected of each task; an arm uses the first ones of them."""
    sim_demos: int = 150
    """Sim demonstrations of each task."""
    stage1_steps: int = 0
    """Gradient steps of stage I; 0: as many as the preset's recipe has."""
    batch: int = 0
    """Samples of a stage I step; 0: those of the recipe."""
    stem_steps: int = 0
    """Steps that train a tiny preset's stem before stage I; 0: those of the recipe."""
    threads: int = 0
    """Torch threads of both stages; 0: those of the recipe. Give 1 with --jobs on two cores."""
    workers: int = USUAL_WORKERS
    """Processes that demonstrate, explore and evaluate in the twin. 1: the command's own."""
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

    @property
    def machine(self) -> dict[str, str]:
        """Return the options of both stages that say where and how numbers are computed."""
        found = {name: str(getattr(self, name)) for name in ("device", "precision", "moments")}
        return {name: value for name, value in found.items() if value != USUAL_MACHINE[name]}

    @property
    def recipe(self) -> Recipe:
        """How stage I trains: the preset's recipe with what was asked for."""
        usual = recipe_of(self.preset)
        return replace(
            usual,
            steps=self.stage1_steps or usual.steps,
            batch=self.batch or usual.batch,
            threads=self.threads or usual.threads,
            stem_steps=(self.stem_steps or usual.stem_steps) if usual.stem_steps else 0,
        )

    def settings(self) -> dict[str, Any]:
        """Return them as a journal keeps them: the numbers that are used.

        Those that came later are left out where they are as they were before.
        """
        recipe = self.recipe
        used = {"stage1_steps": recipe.steps, "batch": recipe.batch}
        later: dict[str, tuple[Any, Any]] = {
            "preset": (self.preset, DEFAULT_PRESET),
            "stem_steps": (recipe.stem_steps, 0),
            "threads": (recipe.threads, recipe_of(DEFAULT_PRESET).threads),
            "workers": (self.workers, USUAL_WORKERS),
        }
        later |= {key: (getattr(self, key), USUAL_MACHINE[key]) for key in USUAL_MACHINE}
        plain = {key: value for key, value in spec.to_plain(self).items() if key not in later}
        chosen = {key: value for key, (value, before) in later.items() if value != before}
        return plain | used | chosen


def settings_of(sizes: Sizes, robot: Robot | None) -> dict[str, Any]:
    """Return what a seed's journal keeps of what it was run with."""
    return sizes.settings() | ({"robot": spec.to_plain(robot)} if robot else {})


def read_settings(settings: Mapping[str, Any], where: str) -> tuple[Sizes, Robot | None]:
    """Return what `settings_of` was given.

    Raises:
        SpecError: if it was something else.
    """
    plain = dict(settings)
    robot = plain.pop("robot", None)
    sizes = spec.from_plain(Sizes, plain, where=where)
    return sizes, spec.from_plain(Robot, robot, where=where) if robot else None


class SeedFolder:
    """The files of one seed below `folder`; nothing here is written or need be there."""

    def __init__(self, folder: Path, sizes: Sizes, seed: int, robot: Robot | None = None) -> None:
        """Name the folder, what is spent in it, its seed, and what is real: a robot, or the lab."""
        self.folder, self.sizes, self.seed, self.robot = folder, sizes, seed, robot

    @property
    def reality(self) -> str:
        """What rows of real trials are called."""
        return "robot" if self.robot else "lab"

    def lab(self, test: Test = "") -> Path:
        """Return the hidden lab's file, which only the lab may read."""
        objects = "-unseen-objects" if test == "unseen objects" else ""
        return self.folder / "lab" / f"hidden{objects}.yaml"

    def store(self, kind: str, task: str, bench: Bench = "") -> Path:
        """Return the demonstrations of a task, `real` or `sim`."""
        if kind == "real" and self.robot:
            return Path(self.robot.real[task])
        return self.folder / f"{kind}-{task}{suffix(bench, '-in-')}.zarr"

    def bench(self, bench: Bench) -> Path:
        """Return the twin file that arms of a bench train in; a robot's twin is a recovered one."""
        if bench == "recovered" and not self.robot:
            return self.folder / "calibration" / "twin.yaml"
        return self.folder / "uncalibrated.yaml" if bench == "uncalibrated" else self.sizes.twin

    def around(self, test: Test) -> Path:
        """Return the twin file whose objects a test is about."""
        if test == "unseen objects":
            return Path(self.robot.unseen_objects) if self.robot else self.drawn_objects
        return self.sizes.twin

    @property
    def drawn_objects(self) -> Path:
        """The file of the twin with unseen objects that a study makes for the lab."""
        return self.folder / "unseen-objects.yaml"

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
        if self.sizes.init is not None:
            return self.sizes.init
        return None if self.sizes.preset == DEFAULT_PRESET else self.folder / "init"

    def sim_results(self, arm: Arm, test: Test = "") -> Path:
        """Return the folder of an arm's evaluation in the twin: TASK.json for each task."""
        return self.folder / "sim" / f"{arm.folder}{suffix(test)}"

    def trials_folder(self, name: str, task: str, test: Test = "") -> Path:
        """Return where the real trials of a study are kept: the locked plan and its key."""
        return self.folder / "trials" / f"{name}-{task}{suffix(test)}"

    def ledger(self, at: Path) -> Path:
        """Return the ledger of the trials that are kept in a `trials_folder`."""
        if self.robot and self.robot.ledgers:
            return Path(self.robot.ledgers) / f"seed-{self.seed}" / f"{at.name}.jsonl"
        return at / "ledger.jsonl"

    def steps_of(self, name: StudyName, study: Study) -> tuple[str, ...]:
        """Return the journal's names of all that a study does here, shared steps included."""
        tasks = self.sizes.tasks
        simulated = self.robot is None
        found = ["lab", *(f"real-{task}" for task in tasks)] if simulated else []
        if self.untrained is not None and self.sizes.init is None:
            found.append(self.untrained.name)
        if set(study.benches) - {""}:
            found += [*(["calibrate"] if simulated else []), "uncalibrated"]
        found += [self.store("sim", task, bench).stem for bench in study.benches for task in tasks]
        if "unseen objects" in study.tests and simulated:
            found += ["unseen-objects", "lab-unseen-objects"]
        if self.sizes.recipe.stem_steps:
            found += [arm.stem_folder for arm in study.policies]
        found += [folder for arm in study.policies for folder in (arm.stage1_folder, arm.folder)]
        found += self.twin_steps(study)
        for test in study.tests:
            if test == "unseen starts":
                found += [self.unseen_starts(task, TEST_SEED).stem for task in tasks]
            if self.sizes.trials > 0:
                found += [self.trial_starts(task, test).stem for task in tasks]
        found += [f"plan-{at.name}" for at in self.all_trials(name, study)]
        return tuple(dict.fromkeys([*found, *self.trial_steps(name, study)]))

    def twin_steps(self, study: Study) -> list[str]:
        """Return the steps after which all of a study's rows of the twin are there."""
        cells = itertools.product(study.tests, study.policies)
        return [evaluation(self.sim_results(arm, test)) for test, arm in cells]

    def trial_steps(self, name: StudyName, study: Study) -> list[str]:
        """Return the steps after which all of a study's rows of real trials are there."""
        return [f"trials-{at.name}" for at in self.all_trials(name, study)]

    def all_trials(self, name: StudyName, study: Study) -> list[Path]:
        """Return the folders of all of a study's real trials: its arms', then its controls'."""
        names = [name, *([CONTROLS] if study.controls else [])] if self.sizes.trials > 0 else []
        cells = itertools.product(names, study.tests, self.sizes.tasks)
        return [self.trials_folder(which, task, test) for which, test, task in cells]


def evaluation(results: Path) -> str:
    """Return the name of the step that evaluates an arm in the twin, from its results' folder."""
    return f"eval-{results.name}"


def suffix(name: str, before: str = "-") -> str:
    """Return what a name adds to a file's name: nothing for the usual."""
    return before + name.replace(" ", "-") if name else ""
