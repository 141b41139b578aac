"""Studies without simulation or training: what their commands leave behind that others read.

Every command line is read by the program that it is for, so a study that gives one an option it
does not have, or a lab's graph an argument, fails here.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import tyro
from rlco.bringup import GRAPHS
from rlco.lab import cli as labs
from rlco_calibration import cli as calibrate
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_evaluation import cli as evaluation
from rlco_evaluation.blinding import Key
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.schedule import schedule
from rlco_evaluation.study import Study
from rlco_policy_server import cli as serving
from rlco_trainer.atomic import write_text
from rlco_trainer.cli import parse
from rlco_trainer.eval_command import Eval
from rlco_trainer.studies import steps, trials
from rlco_trainer.studies.places import Sizes

RECOVERED = "recovered-twin"
SIZES = Sizes(tasks=("push_cube", "open_drawer"), collected=20, sim_episodes=6, trials=3)


UNDERSTOOD: set[tuple[str, ...]] = set()
"""Programs, subcommands and options that were read before: reading takes a tenth of a second."""


def understood(words: list[str]) -> None:
    """Let a command's own program read its words, without running it.

    Raises:
        SystemExit, ValueError: if the program does not understand them.
    """
    shape = tuple(
        re.sub(":=.*", "", w) for w in words if ":=" in w or w.startswith("-") or w in words[:2]
    )
    if shape in UNDERSTOOD:
        return
    UNDERSTOOD.add(shape)
    program, *rest = words
    if program == "rlco-train":
        parse(rest)
    elif program == "rlco-calibrate":
        tyro.cli(calibrate.Command, args=rest)
    elif program == "rlco-serve":
        tyro.cli(serving.Arguments, args=rest)
    elif program == "rlco-up":
        GRAPHS[rest[0]].nodes(dict(word.split(":=", 1) for word in rest[1:]))


class FakeCommands:
    """Stands in for `steps.execute`: notes commands; writes twins, results, plans and ledgers.

    `rate(run, task)` is the success rate of the policy of the run folder `run`. A command that
    `fails` fails, and the study with it.
    """

    def __init__(self, rate: Callable[[str, str], float]) -> None:
        self.rate = rate
        self.fails: Callable[[list[str]], bool] = lambda words: False
        self.commands: list[list[str]] = []
        self._one_at_a_time = threading.Lock()

    def __call__(
        self, words: list[str], log: Path, children: steps.Children, *, shown: bool
    ) -> None:
        with self._one_at_a_time:  # threads may not share the cache of tyro, which reads `words`
            self._run(words)

    def _run(self, words: list[str]) -> None:
        if self.fails(words):
            raise steps.StepFailedError(f"{words} was told to fail")
        self.commands.append(words)
        understood(words)
        given = dict(pairwise(words))
        if "walk" in words:
            twin = spec.to_plain(load_twin(demo_bench())) | {"name": RECOVERED}
            folder = Path(given["--folder"])
            spec.save(
                spec.from_plain(type(load_twin(demo_bench())), twin, where="test"),
                folder / "twin.yaml",
            )
        elif words[:2] in (["rlco-train", "stage1"], ["rlco-train", "stage2"]):
            checkpoint = Path(given["--out"]) / "checkpoint"
            checkpoint.mkdir(parents=True)
            (checkpoint / "weights").write_text(given["--out"])
        elif words[:2] == ["rlco-train", "eval"]:
            asked, run = parse(words[1:]), Path(given["--checkpoint"]).parent.name
            assert isinstance(asked, Eval)
            assert asked.out is not None
            for task in asked.tasks:
                successes = round(self.rate(run, task) * asked.episodes)
                found = {"successes": successes, "episodes": asked.episodes}
                write_text(asked.out / f"{task}.json", json.dumps(found))
        elif words[:2] == ["rlco-lab", "draw"]:
            labs.run(tyro.cli(labs.Draw, args=words[2:]))
        elif words[:2] == ["rlco-calibrate", "conditions"]:
            tyro.cli(calibrate.Command, args=words[1:]).run()
        elif words[:2] == ["rlco-eval", "create"]:
            evaluation.main(words[1:])
        elif words[:2] == ["rlco-up", "eval"]:
            self._write_ledger(dict(word.split(":=") for word in words if ":=" in word))

    def _write_ledger(self, given: dict[str, str]) -> None:
        at = Path(given["study"])
        planned, key = spec.load(Study, at), spec.load(Key, at.with_name("key.yaml"))
        left = {
            entry.code: round(self.rate(Path(entry.checkpoint).parent.name, planned.task) * n)
            for entry in key.entries
            for n in [len(planned.conditions)]
        }
        with Ledger.open(given["ledger"], planned, "a") as ledger:
            for trial in schedule(planned):
                left[trial.code] -= 1
                ledger.append(
                    TrialRecord(
                        index=trial.index,
                        condition=trial.condition,
                        code=trial.code,
                        status="done",
                        success=left[trial.code] >= 0,
                    )
                )

    def of(self, *words: str) -> list[list[str]]:
        """Return the commands that have all of these words."""
        return [line for line in self.commands if set(words) <= set(line)]


def half(run: str, task: str) -> float:
    """Every policy succeeds every other time."""
    return 0.5


def install(
    monkeypatch: pytest.MonkeyPatch, rate: Callable[[str, str], float] = half
) -> FakeCommands:
    """Make every study run fake commands; return what notes them."""

    @contextmanager
    def server(words: list[str], ready: Path, log: Path, run: steps.Steps) -> Iterator[str]:
        understood(words)
        yield "http://127.0.0.1:1"

    monkeypatch.setattr(os, "fsync", lambda fd: None)  # thousands of rows, and no crash to survive
    fake = FakeCommands(rate)
    monkeypatch.setattr(steps, "execute", fake)
    monkeypatch.setattr(steps, "script", lambda name: name)
    monkeypatch.setattr(trials, "policy_server", server)
    return fake
