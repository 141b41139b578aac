"""The whole mission on a laptop, with a simulated lab in place of a robot.

Goes in: nothing (the bench's training twin ships with rlco; the lab is drawn from the seed).
Comes out: a run folder with the hidden lab, the episode stores, three checkpoints, the trial
ledger and `report.html`.

Every step is one of the commands a lab would type; it is printed, its output is kept in `logs/`,
and a run that was interrupted goes on at the step where it stopped.

Example: `python scripts/demo.py --seed 0`, three seeds and a table: `--seeds 0 1 2`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import tyro
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact
from rlco_evaluation.blinding import Key
from rlco_evaluation.report.inputs import Artefact, Curve, ReportInputs, Simulation
from rlco_trainer.studies.domains import own_domain
from rlco_trainer.studies.steps import StepFailedError, Steps, command, policy_server, typed

POLICIES = ("real-only", "sft-co-training", "rl-co")
CRITERIA = {
    "pick_and_place": "the cube lies in the bowl, released and at rest",
    "push_cube": "the cube lies on the mark, let go and at rest",
}
TIME_LIMIT_S = 6.0


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Sizes and seeds of the demo; the defaults are the ones the README reports."""

    out: Path = Path("runs/demo")
    """Folder for everything; each seed gets a folder `seed-N` of its own."""
    seeds: tuple[int, ...] = (0,)
    """One full run each: lab, demos, training and trials are all drawn from the seed."""
    task: Literal["pick_and_place", "push_cube"] = "pick_and_place"
    """What the robot learns."""
    gap: float = 1.0
    """How far the hidden lab is from the twin (1 = camera 2-3 cm and 2 degrees, other physics)."""
    real_demos: int = 30
    """Demonstrations collected in the lab, through ROS."""
    sim_demos: int = 150
    """Demonstrations generated in the training twin."""
    alpha: float = 0.6
    """Share of sim samples in stage I co-training."""
    stage1_steps: int = 1400
    """Gradient steps of stage I (real-only and co-training alike)."""
    beta: float = 0.5
    """Weight of the supervised loss on real demos in stage II."""
    iterations: int = 26
    """PPO iterations of stage II."""
    iteration_episodes: int = 144
    """Exploring episodes of one iteration."""
    sim_episodes: int = 200
    """Episodes of the final evaluation in the twin, for each policy."""
    trials: int = 30
    """Initial conditions in the lab; each policy meets each of them once."""
    workers: int = 2
    """Processes that demonstrate, explore and evaluate in the twin. 1: the command's own."""


class Run(Steps):
    """One seed's run."""

    def __init__(self, demo: Demo, seed: int) -> None:
        """Open or make the run folder.

        Raises:
            StepFailedError: if the folder holds a run with other settings.
        """
        settings = {**spec.to_plain(demo), "out": "", "seeds": [seed]}
        del settings["workers"]
        super().__init__(demo.out / f"seed-{seed}", settings)
        self.demo, self.seed = demo, seed


def run_seed(demo: Demo, seed: int) -> Path:
    """Run the whole loop for one seed and return the path of its report."""
    run = Run(demo, seed)
    at, task = run.folder, demo.task
    bench, lab, study = demo_bench(), at / "lab" / "hidden.yaml", at / "study"
    real, sim, conditions = at / "demos-real.zarr", at / "demos-sim.zarr", at / "conditions.yaml"
    checkpoints = {name: at / name / "checkpoint" for name in POLICIES}
    twin, workers = {"twin": bench, "task": task}, {"workers": demo.workers}
    stage1 = {"steps": demo.stage1_steps, "seed": seed}
    run.run(
        "lab",
        "1/9  Draw a hidden lab: another camera pose, light, colours, friction and arm",
        command("rlco-lab", "draw", twin=bench, seed=1000 + seed, gap=demo.gap, out=lab),
    )
    collect = (f"twin:={lab}", f"task:={task}", f"store:={real}", f"seed:={seed}")
    with own_domain() as domain:
        run.run(
            "collect",
            f"2/9  Collect {demo.real_demos} demonstrations in the lab, over ROS 2",
            command("rlco-up", "collect", *collect, f"episodes:={demo.real_demos}", domain),
            command("rlco-data", "info", real),
        )
    run.run(
        "sim-demos",
        f"3/9  Generate {demo.sim_demos} demonstrations in the training twin",
        command(
            *("rlco-train", "demos"),
            **(twin | workers | {"episodes": demo.sim_demos, "seed": seed, "out": sim}),
        ),
    )
    run.run(
        "real-only",
        "4/9  Baseline: supervised on the real demonstrations alone",
        command("rlco-train", "stage1", real=real, alpha=0, **stage1, out=at / "real-only"),
    )
    mix = {"real": real, "sim": sim, "alpha": demo.alpha, "out": at / "sft-co-training"}
    run.run(
        "sft-co-training",
        f"5/9  Stage I: supervised co-training on real and sim (alpha {demo.alpha})",
        command("rlco-train", "stage1", **mix, **stage1),
    )
    ppo = {"real": real, "beta": demo.beta, "seed": seed, **workers}
    ppo |= {"iterations": demo.iterations, "episodes": demo.iteration_episodes}
    ppo |= {"final": "last", "evaluate_every": 6}
    start = checkpoints["sft-co-training"]
    run.run(
        "rl-co",
        f"6/9  Stage II: PPO in the twin + {demo.beta} x supervised loss on real demonstrations",
        command("rlco-train", "stage2", init=start, **twin, **ppo, out=at / "rl-co"),
    )
    held_out = {"episodes": demo.sim_episodes, "seed": 50_000 + seed, **workers}
    run.run(
        "sim-eval",
        f"7/9  Evaluate in the twin, {demo.sim_episodes} episodes a policy",
        *(
            command(
                *("rlco-train", "eval"),
                checkpoint=path,
                twin=bench,
                tasks=task,
                **held_out,
                out=at / sim_results(name),
            )
            for name, path in checkpoints.items()
        ),
    )
    plan = {
        "conditions": conditions,
        "contract_id": franka_compact().id,
        "instruction": load_twin(bench).task(task).instruction,
        "criterion": CRITERIA[task],
        "time_limit_s": TIME_LIMIT_S,
        "seed": seed,
        "blind_seed": seed,
    }
    policies = [x for name, path in checkpoints.items() for x in ("--policy", f"{name}={path}")]
    pairs = ("--compare", "rl-co:sft-co-training", "--compare", "sft-co-training:real-only")
    run.run(
        "study",
        f"8/9  Lock a blind study: {demo.trials} initial conditions x {len(POLICIES)} policies",
        command(
            *("rlco-calibrate", "conditions"),
            **(twin | {"n": demo.trials, "seed": 90_000 + seed, "out": conditions}),
        ),
        command("rlco-eval", "create", *policies, *pairs, name=f"{task}-{seed}", **plan, out=study),
    )
    run_trials(run)
    spec.save(report_inputs(run), at / "report.yaml")
    files = {"study": study / "study.yaml", "ledger": at / "ledger.jsonl"}
    run.run(
        "report",
        "9/9  Open the key and write the report",
        command("rlco-eval", "unblind", **files, key=study / "key.yaml"),
        command("rlco-eval", "report", inputs=at / "report.yaml", out=at / "report.html"),
    )
    return at / "report.html"


def sim_results(policy: str) -> Path:
    """Return the folder of a policy's evaluation in the twin, within the run's."""
    return Path(f"sim-{policy}")


def run_trials(run: Run) -> None:
    """Serve the three policies under their blind codes and run the study in the lab."""
    if "trials" in run:
        return
    at, study = run.folder, run.folder / "study"
    key = spec.load(Key, study / "key.yaml")
    served = [x for e in key.entries for x in ("--checkpoint", f"{e.code}={e.checkpoint}")]
    ready = at / "server.json"
    serve = command("rlco-serve", *served, "--blind", port=0, ready_file=ready)
    print("\n== 8/9  Serve the policies over HTTP; run the blind trials in the lab, over ROS 2")
    started = time.monotonic()
    log = at / "logs" / "server.log"
    with policy_server(serve, ready, log, run) as url, own_domain() as domain:
        trials = command(
            *("rlco-up", "eval", f"twin:={at / 'lab' / 'hidden.yaml'}", f"server:={url}"),
            *(f"study:={study / 'study.yaml'}", f"ledger:={at / 'ledger.jsonl'}"),
            *(f"frames:={at / 'frames'}", domain),
        )
        run.execute("trials", trials)
    run.finish("trials", [typed(serve), typed(trials)], time.monotonic() - started)


def report_inputs(run: Run) -> ReportInputs:
    """Return what the report is made from: ledger, curves, sim results, artefacts, commands."""
    stage1 = ("loss", "translation", "gripper")
    rl = ("validation/success", "rollout/success", "gradient/beta_sft_over_rl")
    return ReportInputs(
        study="study/study.yaml",
        ledger="ledger.jsonl",
        key="study/key.yaml",
        title=f"RL-Co on {run.demo.task.replace('_', ' ')}",
        bench=f"simulated lab, drawn with seed {1000 + run.seed} and gap {run.demo.gap}",
        curves=(
            Curve(
                label="real-only", path="real-only/metrics.jsonl", scalars=stage1, group="Stage I"
            ),
            Curve(
                label="sft-co-training",
                path="sft-co-training/metrics.jsonl",
                scalars=stage1,
                group="Stage I",
            ),
            Curve(label="rl-co", path="rl-co/metrics.jsonl", scalars=rl, group="Stage II"),
        ),
        simulations=tuple(
            Simulation(label=name, path=str(sim_results(name) / f"{run.demo.task}.json"))
            for name in POLICIES
        ),
        artefacts=(
            Artefact(kind="twin", name="training twin", path=str(demo_bench())),
            Artefact(kind="lab", name="hidden lab", path="lab/hidden.yaml"),
            Artefact(kind="store", name="real demonstrations", path="demos-real.zarr"),
            Artefact(kind="store", name="sim demonstrations", path="demos-sim.zarr"),
        ),
        commands=tuple(run.commands),
        software_version=version("rlco-trainer"),
        git_commit=git_commit(),
    )


def git_commit() -> str:
    """Return the checkout's commit, marked `+changes` where it differs; "" outside of git."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+changes"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    return described.stdout.strip()


def main() -> int:
    """Run every seed; print where the reports are and, for several seeds, the table."""
    demo = tyro.cli(Demo, description=__doc__)
    try:
        reports = [run_seed(demo, seed) for seed in demo.seeds]
    except StepFailedError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    for path in reports:
        print(f"\nreport: {path.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
