"""Initial conditions for training, validation and test: three streams that never share a draw."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import Twin
from rlco_datasets import spec
from rlco_datasets.initial_condition import InitialCondition

Purpose = Literal["train", "validation", "test", "demos"]


def draw(
    twin: Twin, task: str, count: int, *, purpose: Purpose, seed: int, round_: int = 0
) -> tuple[InitialCondition, ...]:
    """Return `count` conditions that depend on the arguments alone.

    Args:
        twin: whose initial-state distribution is drawn from.
        task: the task's name.
        count: how many.
        purpose: what for; two purposes never give the same conditions.
        seed: the run's seed.
        round_: for example the training iteration.

    Raises:
        TwinError: if the twin has no such task.
    """
    rng = np.random.default_rng([zlib.crc32(purpose.encode()), seed, round_])
    return tuple(
        sample(twin, task, rng, f"{purpose}-{seed}-{round_}-{i:04d}") for i in range(count)
    )


def narrowed(twin: Twin, task: str, extent: float) -> Twin:
    """Return the twin with the task's start states drawn from the middle `extent` of each range."""

    def middle(low: float, high: float) -> tuple[float, float]:
        centre, half = 0.5 * (low + high), 0.5 * extent * (high - low)
        return centre - half, centre + half

    states = twin.task(task)
    placements = tuple(
        replace(
            placement,
            x_m=middle(*placement.x_m),
            y_m=middle(*placement.y_m),
            yaw_rad=middle(*placement.yaw_rad),
        )
        for placement in states.placements
    )
    changed = replace(
        states,
        placements=placements,
        tcp_x_m=middle(*states.tcp_x_m),
        tcp_y_m=middle(*states.tcp_y_m),
        tcp_z_m=middle(*states.tcp_z_m),
        drawer_open=middle(*states.drawer_open),
    )
    tasks = tuple(changed if item.name == task else item for item in twin.tasks)
    return replace(twin, tasks=tasks)


def read_conditions(paths: Sequence[Path], task: str) -> tuple[InitialCondition, ...]:
    """Return the conditions of `task` in YAML files with a list `conditions`, e.g. studies.

    Raises:
        SpecError: if a file is missing or malformed, or none holds one of that task.
    """
    found = tuple(condition for path in paths for condition in _read(path))
    chosen = tuple(condition for condition in found if condition.task == task)
    if not chosen:
        tasks = sorted({condition.task for condition in found})
        raise spec.SpecError(
            f"{', '.join(map(str, paths))}: no condition of task {task!r}, only of {tasks}"
        )
    return chosen


def _read(path: Path) -> tuple[InitialCondition, ...]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        items = data["conditions"]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise spec.SpecError(
            f"{path}: no YAML file with a list `conditions` ({error!r}); give a study, or a list "
            "that `rlco-calibrate conditions` wrote"
        ) from error
    return tuple(
        spec.from_plain(InitialCondition, item, where=f"{path} conditions[{i}]")
        for i, item in enumerate(items)
    )
