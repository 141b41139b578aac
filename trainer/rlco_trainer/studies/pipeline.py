"""One seed of a study: hidden lab, demonstrations, every arm's training, twin and lab evaluation.

"Real" is the simulated lab: it is drawn from the seed, demonstrations come out of it over ROS 2 and
trials are run in it blind and interleaved, through the policy server. Nothing here reads the lab's
hidden twin. All studies of the same sizes share one folder, and with it whatever they have in
common.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rlco_calibration.twin import Twin, demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact
from rlco_evaluation.blinding import Key

from rlco_trainer.studies.arms import Arm, Reinforce
from rlco_trainer.studies.steps import Steps, command, policy_server, typed

LAB_SEED, TEST_SEED, TRIAL_SEED = 1000, 50_000, 90_000
"""What is added to a seed, so that labs, test starts and trial starts share nothing."""
FIRST_DOMAIN, DOMAINS = 10, 40
"""ROS domains of studies; the demo's are others."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything a study spends."""

    tasks: tuple[str, ...] = ("pick_and_place", "push_cube", "open_drawer", "close_drawer")
    """Tasks, learnt together by one policy of each arm."""
    twin: Path = field(default_factory=demo_bench)
    """The training twin."""
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


class Seed:
    """The runs of one seed, below `folder`."""

    def __init__(self, folder: Path, sizes: Sizes, seed: int) -> None:
        """Open or make the folder.

        Raises:
            StepFailedError: if it holds runs of other sizes.
            TwinError: if the twin is unusable or lacks a task.
        """
        self.folder, self.sizes, self.seed = folder, sizes, seed
        self.twin: Twin = load_twin(sizes.twin)
        for task in sizes.tasks:
            self.twin.task(task)
        self.steps = Steps(folder, spec.to_plain(sizes))

    @property
    def _lab(self) -> Path:
        return self.folder / "lab" / "hidden.yaml"

    @property
    def _domain(self) -> str:
        return f"domain:={FIRST_DOMAIN + self.seed % DOMAINS}"

    def _store(self, kind: str, task: str) -> Path:
        return self.folder / f"{kind}-{task}.zarr"

    def _stores(self, kind: str) -> tuple[Path, ...]:
        return tuple(self._store(kind, task) for task in self.sizes.tasks)

    def collect(self) -> None:
        """Draw the lab; collect and generate demonstrations of every task."""
        sizes = self.sizes
        draw = {"twin": sizes.twin, "seed": LAB_SEED + self.seed, "gap": sizes.gap}
        self.steps.run(
            "lab",
            "Draw a hidden lab",
            command("rlco-lab", "draw", **draw, out=self._lab),
        )
        for task in sizes.tasks:
            where = (f"twin:={self._lab}", f"measured:={sizes.twin}", f"task:={task}")
            amount = (f"episodes:={sizes.collected}", f"seed:={self.seed}", self._domain)
            store = f"store:={self._store('real', task)}"
            self.steps.run(
                f"real-{task}",
                f"Collect demonstrations of {task} in the lab, over ROS 2",
                command("rlco-up", "collect", *where, store, *amount),
            )
            self.steps.run(
                f"sim-{task}",
                f"Generate demonstrations of {task} in the twin",
                command(
                    *("rlco-train", "demos"),
                    twin=sizes.twin,
                    task=task,
                    episodes=sizes.sim_demos,
                    seed=self.seed,
                    out=self._store("sim", task),
                ),
            )

    def train(self, arm: Arm) -> Path:
        """Train an arm, as far as that is not done; return its checkpoint."""
        sizes, stage1 = self.sizes, self.folder / arm.stage1_folder
        real = self._stores("real") if arm.alpha < 1 else None
        self.steps.run(
            arm.stage1_folder,
            f"Stage I: {arm.stage1_folder}",
            command(
                *("rlco-train", "stage1"),
                real=real,
                real_limit=arm.real_demos if real else None,
                sim=self._stores("sim") if arm.alpha > 0 else None,
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
                twin=sizes.twin,
                tasks=sizes.tasks,
                real=self._stores("real") if stage2.beta > 0 else None,
                real_limit=arm.real_demos if stage2.beta > 0 else None,
                beta=stage2.beta,
                ppo__rl_weight=None if stage2.rl else 0,
                iterations=sizes.iterations,
                episodes=sizes.episodes,
                final="last",
                seed=self.seed,
                out=self.folder / arm.folder,
            ),
        )

    def sim_result(self, arm: Arm, task: str) -> Path:
        """Return where the twin evaluation of an arm is kept."""
        return self.folder / "sim" / f"{arm.folder}-{task}.json"

    def evaluate_in_twin(self, arm: Arm) -> None:
        """Evaluate an arm's policy in the training twin, on starts that training never saw."""
        checkpoint = self.folder / arm.folder / "checkpoint"
        (self.folder / "sim").mkdir(exist_ok=True)
        for task in self.sizes.tasks:
            result = self.sim_result(arm, task)
            self.steps.run(
                result.stem,
                f"Evaluate {arm.label} on {task} in the twin",
                command(
                    *("rlco-train", "eval"),
                    checkpoint=checkpoint,
                    twin=self.sizes.twin,
                    task=task,
                    episodes=self.sizes.sim_episodes,
                    seed=TEST_SEED + self.seed,
                    json=result,
                ),
            )

    def lab_folder(self, name: str, task: str) -> Path:
        """Return where the lab trials of a study are kept."""
        return self.folder / "trials" / f"{name}-{task}"

    def evaluate_in_lab(self, name: str, arms: Sequence[Arm]) -> None:
        """Run a study's blind, interleaved trials of every task in the lab."""
        for task in self.sizes.tasks:
            at = self.lab_folder(name, task)
            conditions = self.folder / "trials" / f"conditions-{task}.yaml"
            at.parent.mkdir(exist_ok=True)
            self.steps.run(
                conditions.stem,
                f"Draw {self.sizes.trials} starts of {task}",
                command(
                    *("rlco-calibrate", "conditions"),
                    twin=self.sizes.twin,
                    task=task,
                    n=self.sizes.trials,
                    seed=TRIAL_SEED + self.seed,
                    out=conditions,
                ),
            )
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
                    name=f"{name}-{task}-{self.seed}",
                    conditions=conditions,
                    contract_id=franka_compact().id,
                    instruction=self.twin.task(task).instruction,
                    criterion=f"as the twin's task {task} says, released and at rest",
                    time_limit_s=self.sizes.time_limit_s,
                    seed=self.seed,
                    blind_seed=self.seed,
                    out=at,
                ),
            )
            self._run_trials(at)

    def _run_trials(self, at: Path) -> None:
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
                *("rlco-up", "eval", f"twin:={self._lab}", f"measured:={self.sizes.twin}"),
                *(f"server:={url}", f"study:={at / 'study.yaml'}"),
                *(f"ledger:={at / 'ledger.jsonl'}", self._domain),
            )
            self.steps.execute(name, trials)
        self.steps.finish(name, [typed(serve), typed(trials)], time.monotonic() - started_s)
