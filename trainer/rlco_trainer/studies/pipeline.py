"""One seed of a study: hidden lab, demonstrations, every arm's training, evaluation in the twin.

"Real" is the simulated lab, which is drawn from the seed and which demonstrations come out of over
ROS 2, or a robot, whose demonstrations are there. Nothing here reads the lab's hidden twin. All
studies of the same sizes share one folder, and with it whatever they have in common.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlco_calibration.twin import Twin, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import Contract, franka_compact

from rlco_trainer.studies.arms import Arm, Bench, Reinforce, Test
from rlco_trainer.studies.domains import own_domain
from rlco_trainer.studies.places import (
    TEST_SEED,
    SeedFolder,
    Sizes,
    evaluation,
    settings_of,
    suffix,
)
from rlco_trainer.studies.robot import Robot
from rlco_trainer.studies.steps import Children, Steps, command
from rlco_trainer.studies.variations import uncalibrated, unseen_objects, unseen_starts

LAB_SEED = 1000
"""Added to a seed for its hidden lab."""
UNSEEN_SEED = 70_000
"""Added to a seed for what is unseen."""
LAB_CONTRACT = franka_compact()
"""Of every run of a study in the simulated lab."""
CURVE_POINTS = 4
"""Evaluations during a stage II, which choose nothing."""
CAPTURES = 20
"""Captures of the board when a lab is calibrated."""


class Seed(SeedFolder):
    """The runs of one seed, below `folder`."""

    def __init__(
        self,
        folder: Path,
        sizes: Sizes,
        seed: int,
        *,
        robot: Robot | None = None,
        contract: Contract | None = None,
        name: str = "",
        children: Children | None = None,
    ) -> None:
        """Open or make the folder.

        Args:
            folder: of the seed.
            sizes: what is spent; with a robot, its twin.
            seed: of everything that is drawn.
            robot: the real bench, where there is one.
            contract: the robot's; the simulated lab has `LAB_CONTRACT`.
            name: begins each line of progress, where several seeds run at once.
            children: where the running commands are kept.

        Raises:
            StepFailedError: if it holds runs of other sizes, or of another bench.
            TwinError: if the twin is unusable or lacks a task.
        """
        super().__init__(folder, sizes, seed, robot)
        self.contract = contract or LAB_CONTRACT
        self.twin: Twin = load_twin(sizes.twin)
        for task in sizes.tasks:
            self.twin.task(task)
        self.steps = Steps(folder, settings_of(sizes, robot), name=name, children=children)

    @property
    def _spoken(self) -> str:
        """The contract as an argument: its name, or for a robot a file, which may be its own."""
        if self.robot is None:
            return self.contract.name
        path = self.folder / "contract.yaml"
        if not path.exists():
            spec.save(self.contract, path)
        return str(path)

    @property
    def _max_steps(self) -> int:
        """An episode's time limit in control periods."""
        return round(self.sizes.time_limit_s * self.contract.control_rate_hz)

    def _stores(self, kind: str, bench: Bench = "") -> tuple[Path, ...]:
        return tuple(self.store(kind, task, bench) for task in self.sizes.tasks)

    def collect(self, benches: Sequence[Bench] = ("",), tests: Sequence[Test] = ("",)) -> None:
        """Draw the lab; collect and generate demonstrations of every task; make what is tried."""
        if self.robot is None:
            self._collect_in_lab()
        if set(benches) - {""}:
            self._calibrate()
        for bench in benches:
            self._generate(bench)
        if "unseen objects" in tests and self.robot is None:
            self._write(
                "unseen-objects",
                "Make other objects",
                self.drawn_objects,
                lambda: unseen_objects(self.twin, UNSEEN_SEED + self.seed),
            )
            self._draw_lab("unseen objects")

    def _collect_in_lab(self) -> None:
        sizes = self.sizes
        self._draw_lab("")
        for task in sizes.tasks:
            where = (f"twin:={self.lab()}", f"measured:={sizes.twin}", f"task:={task}")
            amount = (f"episodes:={sizes.collected}", f"seed:={self.seed}")
            store = f"store:={self.store('real', task)}"
            with own_domain() as domain:
                self.steps.run(
                    f"real-{task}",
                    f"Collect demonstrations of {task} in the lab, over ROS 2",
                    command("rlco-up", "collect", *where, store, *amount, domain),
                )

    def _draw_lab(self, test: Test) -> None:
        draw = {"seed": LAB_SEED + self.seed, "gap": self.sizes.gap, "out": self.lab(test)}
        self.steps.run(
            f"lab{suffix(test)}",
            "Draw a hidden lab",
            command("rlco-lab", "draw", twin=self.around(test), **draw),
        )

    def _generate(self, bench: Bench) -> None:
        for task in self.sizes.tasks:
            self.steps.run(
                f"sim-{task}{suffix(bench, '-in-')}",
                f"Generate demonstrations of {task} in the {bench or 'study'}'s twin",
                command(
                    *("rlco-train", "demos"),
                    twin=self.bench(bench),
                    task=task,
                    contract=self._spoken,
                    episodes=self.sizes.sim_demos,
                    workers=self.sizes.workers,
                    seed=self.seed,
                    out=self.store("sim", task, bench),
                ),
            )

    def _calibrate(self) -> None:
        """Make a bench's measured twin wrong again, after measuring it where that is the lab's."""
        if self.robot is None:
            self._calibrate_lab()
        self._write(
            "uncalibrated",
            "Make the twin of a bench that nobody measured",
            self.bench("uncalibrated"),
            lambda: uncalibrated(load_twin(self.bench("recovered")), self.seed),
        )

    def _calibrate_lab(self) -> None:
        """Measure the lab from nothing but its topics.

        A folder of captures that is there already is gone on with.
        """
        folder = self.bench("recovered").parent
        twins = (f"twin:={self.lab()}", f"measured:={self.sizes.twin}")
        with own_domain() as domain:
            self.steps.run(
                "calibrate",
                "Calibrate the lab, over ROS 2",
                command(
                    *("rlco-up", "calibrate", *twins, f"folder:={folder}", "automatic:=true"),
                    *("steps:=captures,motions,pushes", f"captures:={CAPTURES}", domain),
                ),
                command(
                    *("rlco-calibrate", "walk"),
                    folder=folder,
                    twin=self.sizes.twin,
                    steps=("cameras", "arm", "friction", "twin"),
                ),
            )

    def _write(self, name: str, title: str, path: Path, make: Callable[[], Any]) -> None:
        """Make a file, unless that is done already."""
        if name not in self.steps:
            self.steps.begin(f"{title}: {path}")
            started_s = time.monotonic()
            spec.save(make(), path)
            self.steps.finish(name, [], time.monotonic() - started_s)

    def train(self, arm: Arm) -> Path:
        """Train an arm, as far as that is not done; return its checkpoint."""
        stage1 = self.folder / arm.stage1_folder
        self.steps.run(
            arm.stage1_folder,
            f"Stage I: {arm.stage1_folder}",
            command(*("rlco-train", "stage1"), **self._start(arm), **self._data(arm), out=stage1),
        )
        if arm.stage2 is None:
            return stage1 / "checkpoint"
        self._reinforce(arm, arm.stage2, stage1 / "checkpoint")
        return self.folder / arm.folder / "checkpoint"

    def _start(self, arm: Arm) -> dict[str, Any]:
        """Make what stage I starts from; return its options, beside those of the data.

        A preset with a stem has it trained first, on the arm's own data; arms of the same data
        share it.
        """
        sizes, recipe = self.sizes, self.sizes.recipe
        numbers = {
            "steps": recipe.steps,
            "batch": recipe.batch,
            "learning_rate": recipe.learning_rate,
            "ema_decay": recipe.ema_decay,
        }
        if self.untrained is not None and sizes.init is None:
            init = {"preset": sizes.preset, "contract": self._spoken, "seed": self.seed}
            self.steps.run(
                self.untrained.name,
                f"Make an untrained {sizes.preset}",
                command("rlco-train", "init", **init, out=self.untrained),
            )
        if recipe.stem_steps == 0:
            return {"init": self.untrained, **numbers}
        stem = self.folder / arm.stem_folder
        self.steps.run(
            arm.stem_folder,
            f"Stem: {arm.stem_folder}",
            command(
                *("rlco-train", "stage1"),
                init=self.untrained,
                objective="stem",
                **self._data(arm),
                steps=recipe.stem_steps,
                out=stem,
            ),
        )
        return {"init": stem / "checkpoint", "freeze_stem": True, **numbers}

    def _data(self, arm: Arm) -> dict[str, Any]:
        """Return the options of stage I that say what an arm learns from."""
        real = self._stores("real") if arm.alpha < 1 else None
        return {
            "real": real,
            "real_limit": arm.real_demos if real else None,
            "sim": self._stores("sim", arm.bench) if arm.alpha > 0 else None,
            "alpha": arm.alpha,
            "balance": "tasks",
            "threads": self.sizes.recipe.threads,
            "seed": self.seed,
            **self.sizes.machine,
        }

    def _reinforce(self, arm: Arm, stage2: Reinforce, start: Path) -> None:
        sizes = self.sizes
        self.steps.run(
            arm.folder,
            f"Stage II: {arm.folder}",
            command(
                *("rlco-train", "stage2"),
                init=start,
                twin=self.bench(arm.bench),
                tasks=sizes.tasks,
                real=self._stores("real") if stage2.beta > 0 else None,
                real_limit=arm.real_demos if stage2.beta > 0 else None,
                beta=stage2.beta,
                rl_weight=None if stage2.rl else 0,
                iterations=sizes.iterations,
                episodes=sizes.episodes,
                workers=sizes.workers,
                max_steps=self._max_steps,
                threads=sizes.recipe.threads,
                **sizes.machine,
                evaluate_every=max(1, sizes.iterations // CURVE_POINTS),
                final="last",
                seed=self.seed,
                out=self.folder / arm.folder,
            ),
        )

    def evaluate_in_twin(self, arm: Arm, test: Test = "") -> None:
        """Evaluate an arm's policy in its training twin, on starts that training never saw."""
        sizes, results = self.sizes, self.sim_results(arm, test)
        starts = [
            self.draw_unseen_starts(task, TEST_SEED, sizes.sim_episodes)
            for task in sizes.tasks
            if test == "unseen starts"
        ]
        self.steps.run(
            evaluation(results),
            f"Evaluate {arm.label} in the twin, on {test or 'what is known'}",
            command(
                *("rlco-train", "eval"),
                checkpoint=self.folder / arm.folder / "checkpoint",
                twin=self.around(test) if test == "unseen objects" else self.bench(arm.bench),
                tasks=sizes.tasks,
                episodes=sizes.sim_episodes,
                workers=sizes.workers,
                max_steps=self._max_steps,
                seed=TEST_SEED + self.seed,
                conditions=tuple(starts) or None,
                out=results,
            ),
        )

    def draw_unseen_starts(self, task: str, purpose: int, count: int) -> Path:
        """Make starts beyond those that were trained, and return their file."""
        path = self.unseen_starts(task, purpose)
        self._write(
            path.stem,
            f"Draw {count} unseen starts of {task}",
            path,
            lambda: unseen_starts(self.twin, task, count, purpose + self.seed),
        )
        return path
