"""`rlco-train eval`: how often a policy solves the tasks of a twin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rlco_calibration.twin import Twin, load_twin

from rlco_trainer.checkpoint import load_policy
from rlco_trainer.conditions import draw, read_conditions
from rlco_trainer.episodes import PolicyPackage
from rlco_trainer.evaluate import Job, evaluate, write_evaluation
from rlco_trainer.film import film
from rlco_trainer.sim import SimError, make_pool


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Success rates of a checkpoint in a twin, without exploration, with 95% intervals.

    In: a checkpoint and a twin file. Out: a line a task, and with --out every condition's outcome.
    Example: rlco-train eval --checkpoint runs/stage2/checkpoint --twin bench.yaml
    --tasks pick_and_place push_cube --episodes 100 --seed 1 --out runs/stage2/evaluation
    """

    checkpoint: Path
    """The checkpoint folder."""
    twin: Path
    """The twin file; the hidden twin of a simulated lab is refused."""
    tasks: tuple[str, ...] = ("pick_and_place",)
    """Tasks of the twin, each evaluated on its own."""
    episodes: int = 100
    """Initial conditions to draw of each task, where no file of them is given."""
    seed: int = 0
    """Seed of the initial conditions; training never sees them."""
    conditions: tuple[Path, ...] = ()
    """YAML files with a list `conditions`, for example studies; a task takes those that are its
    own. They replace --episodes and --seed."""
    out: Path | None = None
    """Folder in which to write the outcomes, TASK.json for each task."""
    videos: Path | None = None
    """Folder for MP4 videos of each task's first conditions, VIDEOS/TASK/CONDITION.mp4."""
    video_count: int = 4
    """How many of them."""
    max_steps: int = 60
    """Time limit of an episode, control periods."""
    workers: int = 2
    """Rollout processes; 1: this one."""
    envs: int = 8
    """Scenes of each task in each process."""

    def run(self) -> None:
        """Evaluate and print the rates.

        Raises:
            SimError: if no task is named, or one twice.
        """
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise SimError(f"tasks must be named, each once, got {list(self.tasks)}")
        loaded, twin = load_policy(self.checkpoint), load_twin(self.twin)
        jobs = [self._job(twin, task) for task in self.tasks]
        pool = make_pool(
            twin, loaded.policy.contract, self.tasks[0], workers=self.workers, envs=self.envs
        )
        try:
            package = PolicyPackage.of(loaded.policy)
            results = evaluate(pool, package, jobs, max_steps=self.max_steps)
            if self.videos is not None:
                for job in jobs:
                    first = replace(job, conditions=job.conditions[: self.video_count])
                    film(pool, package, [first], self.videos / job.task, max_steps=self.max_steps)
                print(f"{self.videos}: videos of {', '.join(self.tasks)}")
        finally:
            pool.close()
        for task, result in results.items():
            print(f"{task} in {twin.name}: {result}")
            if self.out is not None:
                about = {
                    "checkpoint_id": loaded.checkpoint_id,
                    "twin_id": twin.id,
                    "task": task,
                    "contract_id": loaded.policy.contract.id,
                }
                write_evaluation(self.out / f"{task}.json", result, about)

    def _job(self, twin: Twin, task: str) -> Job:
        conditions = (
            read_conditions(self.conditions, task)
            if self.conditions
            else draw(twin, task, self.episodes, purpose="test", seed=self.seed)
        )
        return Job(task=task, instruction=twin.task(task).instruction, conditions=conditions)
