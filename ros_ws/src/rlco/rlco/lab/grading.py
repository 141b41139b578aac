"""Calibrates hidden labs from nothing but what their topics show, and grades the result.

The bench is reached through a `BenchPort` in this process, or over ROS by `rlco-up calibrate`; the
calibration gets that and the training twin, and never the hidden one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rlco_calibration.board import Board
from rlco_calibration.gather import PUSH_TASK, Gatherer
from rlco_calibration.initial_states import sample
from rlco_calibration.simulators import TwinSimulator, simulator
from rlco_calibration.twin import Twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec
from rlco_datasets.contract import Contract

from rlco.lab.bench import SimulatedBench
from rlco.lab.clicker import LabClicker
from rlco.lab.draw import draw_lab
from rlco.lab.grade import Mark, marks
from rlco.lab.over_ros import gather_over_ros, session_command
from rlco.lab.port import LabBoard, LabPort
from rlco.lab.scale import weigh
from rlco.lab.unmeasured import unmeasure

START_NS = 1_000_000_000
COLLECTED = (
    *("captures", "touches", "objects", "marks", "appearance"),
    *("drawer", "slides", "motions", "pushes"),
)
MEASURED = (
    *("cameras", "table", "objects", "drawer", "arm", "friction", "slides"),
    *("appearance", "tasks"),
)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Grading:
    """How labs are drawn, how much is captured, and by which way."""

    training: Twin
    contract: Contract
    board: Board
    captures: int
    gap: float = 1.0
    workers: int = 1
    """Processes that replay motions."""
    over_ros: tuple[Path, str] | None = None
    """File of the training twin and name of the contract, where everything is to come over ROS."""


def hidden_lab(grading: Grading, seed: int) -> Twin:
    """Return a lab of which nothing was measured."""
    return unmeasure(draw_lab(grading.training, seed=seed, gap=grading.gap), seed=seed)


def port_of(grading: Grading, hidden: Twin, seed: int) -> LabPort:
    """Return the lab's bench in this process."""
    from rlco_trainer.twin.scene import ImageMode, TwinScene

    def build(task: str) -> SimulatedBench:
        images: ImageMode = "source" if task == PUSH_TASK else "none"
        scene = TwinScene(hidden, grading.contract, task, images=images, seed=seed)
        scene.reset(sample(hidden, task, np.random.default_rng(seed), "start"))
        return SimulatedBench(scene, grading.contract, start_ns=START_NS)

    return LabPort(hidden, build, PUSH_TASK, LabBoard(hidden, grading.board))


def calibrate_and_grade(grading: Grading, seed: int, folder: Path, say: Say) -> list[Mark]:
    """Calibrate one lab into a folder, and return the marks; what is there already is kept."""
    hidden = hidden_lab(grading, seed)
    truth = folder / "hidden.yaml"
    spec.save(hidden, truth)
    walk = Walk(folder, grading.training, say)
    if not all(walk.solved(step) for step in MEASURED):
        weigh(hidden, folder, seed=seed)
        clicker = LabClicker(hidden, seed=seed)
        if grading.over_ros is not None:
            command = partial(session_command, folder, truth, *grading.over_ros)
            gather_over_ros(
                walk, clicker, lambda steps: command(steps=steps, captures=grading.captures), say
            )
        else:
            gatherer = Gatherer(port_of(grading, hidden, seed), walk, say, clicker)
            cameras = tuple(camera.name for camera in grading.training.cameras)
            gatherer.everything(cameras, grading.board, count=grading.captures, steps=COLLECTED)
    with closing(simulator(grading.contract, workers=grading.workers)) as twins:
        _solve(walk, twins)
    return marks(folder, hidden)


def _solve(walk: Walk, twins: TwinSimulator) -> None:
    solve: dict[str, Callable[[], object]] = {
        "cameras": walk.cameras,
        "table": walk.table,
        "objects": walk.objects,
        "drawer": walk.drawer,
        "tasks": walk.tasks,
        "arm": lambda: walk.arm(twins),
        "friction": lambda: walk.friction(twins),
        "slides": lambda: walk.slides(twins),
        "appearance": lambda: walk.appearance(twins),
    }
    for step in MEASURED:
        if not walk.solved(step):
            solve[step]()
    walk.twin()
