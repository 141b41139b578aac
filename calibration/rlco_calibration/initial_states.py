"""Draw initial conditions from the distribution that a twin states for a task."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
from rlco_datasets.initial_condition import InitialCondition, ObjectPose

from rlco_calibration.parts import Placement, Range
from rlco_calibration.twin import Twin, TwinError

MAX_TRIES = 1000


def sample(twin: Twin, task: str, rng: np.random.Generator, name: str) -> InitialCondition:
    """Return one initial condition of `task`, called `name`.

    Placements are drawn together, again and again until every two centres are at least the task's
    `min_distance_m` apart, so the result is uniform over what is allowed. Boxes stand on the table
    (the origin is the centre); bowls', marks' and cabinets' origins lie on it.

    Raises:
        TwinError: if the twin has no such task, or the distance cannot be kept.
    """
    states = twin.task(task)
    for _ in range(MAX_TRIES):
        objects = tuple(_draw(twin, place, rng) for place in states.placements)
        if all(
            math.dist(a.position_m[:2], b.position_m[:2]) >= states.min_distance_m
            for a, b in combinations(objects, 2)
        ):
            break
    else:
        raise TwinError(
            f"twin {twin.name!r}, task {task!r}: {MAX_TRIES} draws kept no two of "
            f"{[place.name for place in states.placements]} {states.min_distance_m} m apart. "
            "Widen the placements or lower min_distance_m."
        )
    return InitialCondition(
        name=name,
        task=task,
        objects=objects,
        tcp_position_m=(
            _uniform(rng, states.tcp_x_m),
            _uniform(rng, states.tcp_y_m),
            _uniform(rng, states.tcp_z_m),
        ),
        drawer_open=_uniform(rng, states.drawer_open),
    )


def stood(twin: Twin, condition: InitialCondition) -> InitialCondition:
    """Return the condition with everything standing on the twin's table, whatever its heights were.

    Places and turns stay: people put things where they are asked to, and the table is where it is.
    """
    objects = (
        replace(item, position_m=(*item.position_m[:2], _origin_m(twin, item.name)))
        for item in condition.objects
    )
    return replace(condition, objects=tuple(objects))


def _origin_m(twin: Twin, name: str) -> float:
    """Return the height of an object's origin when it stands on the table, base frame."""
    boxes = {model.name: model for model in twin.objects if model.kind == "box"}
    return twin.table.height_m + (boxes[name].size_m[2] / 2 if name in boxes else 0.0)


def _uniform(rng: np.random.Generator, bounds: Range) -> float:
    return float(rng.uniform(*bounds))


def _draw(twin: Twin, place: Placement, rng: np.random.Generator) -> ObjectPose:
    position = (
        _uniform(rng, place.x_m),
        _uniform(rng, place.y_m),
        _origin_m(twin, place.name),
    )
    half = _uniform(rng, place.yaw_rad) / 2
    return ObjectPose(
        name=place.name,
        position_m=position,
        quaternion_wxyz=(math.cos(half), 0.0, 0.0, math.sin(half)),
    )
