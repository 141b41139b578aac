"""A study's blind, interleaved trials: run in the simulated lab, or planned for a robot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlco_datasets import spec
from rlco_evaluation.blinding import Key
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.study import Study as LockedStudy

from rlco_trainer.studies.arms import Arm, Test
from rlco_trainer.studies.domains import own_domain
from rlco_trainer.studies.pipeline import Seed
from rlco_trainer.studies.places import TRIAL_SEED
from rlco_trainer.studies.results import key_of
from rlco_trainer.studies.steps import command, policy_server, typed


@dataclass(frozen=True, kw_only=True)
class Due:
    """Trials that a robot is still to run."""

    title: str
    remaining: int
    planned: int
    commands: tuple[str, ...]
    """To be run together: the policy server, and the trials at the bench."""

    def __str__(self) -> str:
        """Return it for people."""
        lines = [f"{self.title}: {self.remaining} of {self.planned} trials are to be run"]
        return "\n".join([*lines, *(f"  $ {line}" for line in self.commands)])


def evaluate_in_reality(
    seed: Seed, name: str, arms: Sequence[Arm], test: Test = ""
) -> tuple[Due, ...]:
    """Lock the trials of every task, and run them in the lab; return what a robot is to run.

    Raises:
        StepFailedError: if a step fails, or trials were locked before without these arms' policies.
    """
    due = []
    for task in seed.sizes.tasks:
        at = seed.trials_folder(name, task, test)
        at.parent.mkdir(exist_ok=True)
        _plan(seed, at, task, arms, test)
        key_of(at, arms)
        step = f"trials-{at.name}"
        if step in seed.steps:
            continue
        if seed.robot is None:
            _run_in_lab(seed, at, step, test)
        elif (left := _read_from_robot(seed, at, step, test)) is not None:
            due.append(left)
    return tuple(due)


def _plan(seed: Seed, at: Path, task: str, arms: Sequence[Arm], test: Test) -> None:
    policies = [
        word
        for arm in arms
        for word in ("--policy", f"{arm.label}={seed.folder / arm.folder / 'checkpoint'}")
    ]
    seed.steps.run(
        f"plan-{at.name}",
        f"Lock the study of {task}",
        command(
            *("rlco-eval", "create", *policies),
            name=f"{at.name}-{seed.seed}",
            conditions=_draw_starts(seed, task, test),
            contract_id=seed.contract.id,
            instruction=seed.twin.task(task).instruction,
            criterion=f"as the twin's task {task} says, released and at rest",
            time_limit_s=seed.sizes.time_limit_s,
            seed=seed.seed,
            blind_seed=seed.seed,
            out=at,
        ),
    )


def _draw_starts(seed: Seed, task: str, test: Test) -> Path:
    trials = seed.sizes.trials
    if test == "unseen starts":
        return seed.draw_unseen_starts(task, TRIAL_SEED, trials)
    conditions = seed.trial_starts(task, test)
    seed.steps.run(
        conditions.stem,
        f"Draw {trials} starts of {task}",
        command(
            *("rlco-calibrate", "conditions"),
            twin=seed.around(test),
            task=task,
            n=trials,
            seed=TRIAL_SEED + seed.seed,
            out=conditions,
        ),
    )
    return conditions


def _served(at: Path) -> list[str]:
    """Return the policies of a locked study under their codes, as the server's options."""
    key = spec.load(Key, at / "key.yaml")
    codes = sorted(key.entries, key=lambda entry: entry.code)
    return [word for e in codes for word in ("--checkpoint", f"{e.code}={e.checkpoint}")]


def _run_in_lab(seed: Seed, at: Path, step: str, test: Test) -> None:
    seed.steps.begin(f"Run the trials of {at.name} in the lab, over ROS 2")
    ready = at / "server.json"
    serve = command("rlco-serve", *_served(at), "--blind", port=0, ready_file=ready)
    started_s = time.monotonic()
    log = seed.folder / "logs" / f"server-{at.name}.log"
    with policy_server(serve, ready, log, seed.steps) as url, own_domain() as domain:
        trials = command(
            *("rlco-up", "eval", f"twin:={seed.lab(test)}"),
            *(f"measured:={seed.around(test)}", f"server:={url}", f"study:={at / 'study.yaml'}"),
            *(f"ledger:={seed.ledger(at)}", domain),
        )
        seed.steps.execute(step, trials)
    seed.steps.finish(step, [typed(serve), typed(trials)], time.monotonic() - started_s)


def _read_from_robot(seed: Seed, at: Path, step: str, test: Test) -> Due | None:
    """Note that the trials are done once the robot's ledger is complete; else say what to run.

    Raises:
        LedgerError: if the ledger is damaged, or of another study.
    """
    robot, path, locked = seed.robot, seed.ledger(at), at / "study.yaml"
    assert robot is not None
    planned = spec.load(LockedStudy, locked)
    remaining, spent_s = planned.trial_count, 0.0
    if path.exists():
        with Ledger.open(path, planned) as ledger:
            remaining = len(ledger.remaining(planned))
            spent_s = sum(trial.duration_s for trial in ledger.trials)
    serve = typed(command("rlco-serve", *_served(at.resolve()), "--blind", port=robot.port))
    launch = " ".join(
        (
            "ros2 launch rlco eval.launch.py",
            f"bench:={robot.bench} measured:={seed.around(test)} server:={robot.server}",
            f"study:={locked.resolve()} ledger:={path.resolve()}",
        )
    )
    if remaining:
        return Due(
            title=f"seed {seed.seed}, {at.name}",
            remaining=remaining,
            planned=planned.trial_count,
            commands=(serve, launch),
        )
    seed.steps.begin(f"Read the robot's ledger of {at.name}")
    seed.steps.finish(step, [serve, launch], spent_s)
    return None
