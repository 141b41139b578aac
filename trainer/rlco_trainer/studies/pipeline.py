"""One seed of a study: hidden lab, demonstrations, every arm's training, twin and lab evaluation.

"Real" is the simulated lab: it is drawn from the seed, demonstrations come out of it over ROS 2 and
trials are run in it blind and interleaved, through the policy server. Nothing here reads the lab's
hidden twin. All studies of the same sizes share one folder, and with it whatever they have in
common.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlco_calibration.twin import Twin, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact
from rlco_evaluation.blinding import Key

from rlco_trainer.studies.arms import Arm, Bench, Reinforce, Test
from rlco_trainer.studies.places import (
    TEST_SEED,
    TRIAL_SEED,
    SeedFolder,
    Sizes,
    evaluation,
    suffix,
)
from rlco_trainer.studies.steps import Steps, command, policy_server, typed
from rlco_trainer.studies.variations import uncalibrated, unseen_objects, unseen_starts

LAB_SEED = 1000
"""Added to a seed for its hidden lab."""
FIRST_DOMAIN, DOMAINS = 10, 40
"""ROS domains of studies; the demo's are others."""
UNSEEN_SEED = 70_000
"""Added to a seed for what is unseen."""
CONTRACT = franka_compact()
"""Of every run of a study."""
CAPTURES = 20
"""Captures of the board when a lab is calibrated."""


class Seed(SeedFolder):
    """The runs of one seed, below `folder`."""

    def __init__(self, folder: Path, sizes: Sizes, seed: int) -> None:
        """Open or make the folder.

        Raises:
            StepFailedError: if it holds runs of other sizes.
            TwinError: if the twin is unusable or lacks a task.
        """
        super().__init__(folder, sizes, seed)
        self.twin: Twin = load_twin(sizes.twin)
        for task in sizes.tasks:
            self.twin.task(task)
        self.steps = Steps(folder, sizes.settings())

    @property
    def _domain(self) -> str:
        return f"domain:={FIRST_DOMAIN + self.seed % DOMAINS}"

    def _stores(self, kind: str, bench: Bench = "") -> tuple[Path, ...]:
        return tuple(self.store(kind, task, bench) for task in self.sizes.tasks)

    def collect(self, benches: Sequence[Bench] = ("",), tests: Sequence[Test] = ("",)) -> None:
        """Draw the lab; collect and generate demonstrations of every task; make what is tried."""
        sizes = self.sizes
        self._draw_lab("")
        for task in sizes.tasks:
            where = (f"twin:={self.lab()}", f"measured:={sizes.twin}", f"task:={task}")
            amount = (f"episodes:={sizes.collected}", f"seed:={self.seed}", self._domain)
            store = f"store:={self.store('real', task)}"
            self.steps.run(
                f"real-{task}",
                f"Collect demonstrations of {task} in the lab, over ROS 2",
                command("rlco-up", "collect", *where, store, *amount),
            )
        if set(benches) - {""}:
            self._calibrate()
        for bench in benches:
            self._generate(bench)
        if "unseen objects" in tests:
            self._write(
                "unseen-objects",
                "Make other objects",
                self.around("unseen objects"),
                lambda: unseen_objects(self.twin, UNSEEN_SEED + self.seed),
            )
            self._draw_lab("unseen objects")

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
                    episodes=self.sizes.sim_demos,
                    seed=self.seed,
                    out=self.store("sim", task, bench),
                ),
            )

    def _calibrate(self) -> None:
        """Measure the lab from nothing but its topics; make what was found wrong again.

        A folder of captures that is there already is gone on with.
        """
        folder = self.bench("recovered").parent
        self.steps.run(
            "calibrate",
            "Calibrate the lab, over ROS 2",
            command(
                *("rlco-up", "calibrate", f"twin:={self.lab()}", f"measured:={self.sizes.twin}"),
                *(f"folder:={folder}", "automatic:=true", "steps:=captures,motions,pushes"),
                *(f"captures:={CAPTURES}", self._domain),
            ),
            command(
                *("rlco-calibrate", "walk"),
                folder=folder,
                twin=self.sizes.twin,
                steps=("cameras", "arm", "friction", "twin"),
            ),
        )
        self._write(
            "uncalibrated",
            "Make the twin of a bench that nobody measured",
            self.bench("uncalibrated"),
            lambda: uncalibrated(load_twin(self.bench("recovered")), self.seed),
        )

    def _write(self, name: str, title: str, path: Path, make: Callable[[], Any]) -> None:
        """Make a file, unless that is done already."""
        if name not in self.steps:
            print(f"\n== {title}: {path}", flush=True)
            started_s = time.monotonic()
            spec.save(make(), path)
            self.steps.finish(name, [], time.monotonic() - started_s)

    def train(self, arm: Arm) -> Path:
        """Train an arm, as far as that is not done; return its checkpoint."""
        sizes, stage1 = self.sizes, self.folder / arm.stage1_folder
        real = self._stores("real") if arm.alpha < 1 else None
        if self.untrained is not None:
            init = {"preset": sizes.preset, "contract": CONTRACT.name, "seed": self.seed}
            self.steps.run(
                self.untrained.name,
                f"Make an untrained {sizes.preset}",
                command("rlco-train", "init", **init, out=self.untrained),
            )
        self.steps.run(
            arm.stage1_folder,
            f"Stage I: {arm.stage1_folder}",
            command(
                *("rlco-train", "stage1"),
                init=self.untrained,
                real=real,
                real_limit=arm.real_demos if real else None,
                sim=self._stores("sim", arm.bench) if arm.alpha > 0 else None,
                alpha=arm.alpha,
                balance="tasks",
                steps=sizes.stage1_steps,
                batch=sizes.batch,
                seed=self.seed,
                out=stage1,
            ),
        )
        if arm.stage2 is None:
            return stage1 / "checkpoint"
        self._reinforce(arm, arm.stage2, stage1 / "checkpoint")
        return self.folder / arm.folder / "checkpoint"

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
                final="last",
                seed=self.seed,
                out=self.folder / arm.folder,
            ),
        )

    def evaluate_in_twin(self, arm: Arm, test: Test = "") -> None:
        """Evaluate an arm's policy in its training twin, on starts that training never saw."""
        sizes, results = self.sizes, self.sim_results(arm, test)
        starts = [
            self._draw_unseen_starts(task, TEST_SEED, sizes.sim_episodes)
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
                seed=TEST_SEED + self.seed,
                conditions=tuple(starts) or None,
                out=results,
            ),
        )

    def _draw_unseen_starts(self, task: str, purpose: int, count: int) -> Path:
        """Make starts beyond those that were trained, and return their file."""
        path = self.unseen_starts(task, purpose)
        self._write(
            path.stem,
            f"Draw {count} unseen starts of {task}",
            path,
            lambda: unseen_starts(self.twin, task, count, purpose + self.seed),
        )
        return path

    def evaluate_in_lab(self, name: str, arms: Sequence[Arm], test: Test = "") -> None:
        """Run a study's blind, interleaved trials of every task in the lab."""
        for task in self.sizes.tasks:
            at = self.lab_folder(name, task, test)
            at.parent.mkdir(exist_ok=True)
            policies = [
                word
                for arm in arms
                for word in ("--policy", f"{arm.label}={self.folder / arm.folder / 'checkpoint'}")
            ]
            self.steps.run(
                f"plan-{at.name}",
                f"Lock the study of {task}",
                command(
                    *("rlco-eval", "create", *policies),
                    name=f"{at.name}-{self.seed}",
                    conditions=self._draw_trial_starts(task, test),
                    contract_id=CONTRACT.id,
                    instruction=self.twin.task(task).instruction,
                    criterion=f"as the twin's task {task} says, released and at rest",
                    time_limit_s=self.sizes.time_limit_s,
                    seed=self.seed,
                    blind_seed=self.seed,
                    out=at,
                ),
            )
            self._run_trials(at, test)

    def _draw_trial_starts(self, task: str, test: Test) -> Path:
        if test == "unseen starts":
            return self._draw_unseen_starts(task, TRIAL_SEED, self.sizes.trials)
        conditions = self.trial_starts(task, test)
        self.steps.run(
            conditions.stem,
            f"Draw {self.sizes.trials} starts of {task}",
            command(
                *("rlco-calibrate", "conditions"),
                twin=self.around(test),
                task=task,
                n=self.sizes.trials,
                seed=TRIAL_SEED + self.seed,
                out=conditions,
            ),
        )
        return conditions

    def _run_trials(self, at: Path, test: Test) -> None:
        name = f"trials-{at.name}"
        if name in self.steps:
            return
        print(f"\n== Run the trials of {at.name} in the lab, over ROS 2", flush=True)
        key = spec.load(Key, at / "key.yaml")
        served = [x for e in key.entries for x in ("--checkpoint", f"{e.code}={e.checkpoint}")]
        ready = at / "server.json"
        serve = command("rlco-serve", *served, "--blind", port=0, ready_file=ready)
        started_s = time.monotonic()
        logs = self.folder / "logs"
        with policy_server(serve, ready, logs / f"server-{at.name}.log") as url:
            trials = command(
                *("rlco-up", "eval", f"twin:={self.lab(test)}"),
                *(f"measured:={self.around(test)}", f"server:={url}"),
                *(f"study:={at / 'study.yaml'}", f"ledger:={at / 'ledger.jsonl'}", self._domain),
            )
            self.steps.execute(name, trials)
        self.steps.finish(name, [typed(serve), typed(trials)], time.monotonic() - started_s)
