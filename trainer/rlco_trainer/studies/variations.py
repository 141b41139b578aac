"""Twins that are wrong, or differ, in a stated way: what studies hold against the usual one.

All of them are drawn from a training twin; nothing here knows a lab's hidden one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.initial_states import sample
from rlco_calibration.parts import CameraModel, Drawer, ObjectModel, Placement, Provenance, Vector3
from rlco_calibration.twin import Twin, TwinError
from rlco_datasets.frames import quaternion_wxyz
from rlco_datasets.initial_condition import ConditionList, InitialCondition, ObjectPose
from scipy.spatial.transform import Rotation

from rlco_trainer.conditions import narrowed

SHIFT_M, TURN_RAD = 0.05, math.radians(8.0)
"""How far an uncalibrated camera is off, in a random direction and about a random axis."""
GAIN_FACTOR = (0.7, 0.85)
PD_FACTOR = (1.4, 1.8)
DELAY_S = (0.04, 0.08)
FRICTION_FACTOR = (1.4, 1.8)
"""Factors are multiplied or divided by, as the seed has it. The gain is always too low. Stiffness
and damping are wrong the same way: opposite ways make an arm that cannot do the tasks in time."""

WIDER = 1.4
"""Ranges of start states are widened to this, about their middle."""
BEYOND = 0.05
"""An unseen start has an object this share of its range's width outside of it."""
MAX_TRIES = 10_000

BOX_M = (0.031, 0.048)
BOWL_DIAMETER_M, BOWL_HEIGHT_M = (0.1, 0.13), (0.037, 0.046)
"""Every box fits every bowl, its middle below the rim."""
SIZE_FACTOR = (0.8, 1.2)
UNLIKE = 0.08
"""Sizes within this share of the known object's are not unseen."""
MASS_FACTOR = (0.6, 1.6)
SHADE = 0.12
"""Largest change of a colour's channel: another shade, which the instruction still names."""


def uncalibrated(twin: Twin, seed: int) -> Twin:
    """Return the twin of a bench that nobody measured: 5 cm and 8 degrees off, wrong gains.

    Friction is wrong too. Sizes, colours and start states stay: a look and a ruler give those.
    """
    rng = np.random.default_rng([seed, 0xBAD])

    def off(value: float, factor: tuple[float, float], up: bool) -> float:
        scale = float(rng.uniform(*factor))
        return round(value * (scale if up else 1 / scale), 6)

    arm = twin.arm
    stiff, slippery = (bool(rng.random() < 0.5) for _ in range(2))
    delay_s = round(arm.delay_s + float(rng.uniform(*DELAY_S)), 6)
    return replace(
        twin,
        name=f"{twin.name}-uncalibrated-{seed}",
        cameras=tuple(_moved(camera, rng) for camera in twin.cameras),
        arm=replace(
            arm,
            gain=round(arm.gain * float(rng.uniform(*GAIN_FACTOR)), 6),
            stiffness=off(arm.stiffness, PD_FACTOR, stiff),
            damping=off(arm.damping, PD_FACTOR, stiff),
            delay_s=delay_s,
        ),
        table=replace(twin.table, friction=off(twin.table.friction, FRICTION_FACTOR, not slippery)),
        objects=tuple(
            replace(item, friction=off(item.friction, FRICTION_FACTOR, not slippery))
            for item in twin.objects
        ),
        provenance=(
            Provenance(name="all", source=f"{twin.name} ({twin.id}) made wrong with seed {seed}"),
        ),
    )


def _moved(camera: CameraModel, rng: np.random.Generator) -> CameraModel:
    shift, axis = _direction(rng) * SHIFT_M, _direction(rng)
    turn = Rotation.from_rotvec(axis * TURN_RAD).as_matrix()
    w, x, y, z = quaternion_wxyz(turn @ camera.T_base_camera[:3, :3]).tolist()
    px, py, pz = (np.asarray(camera.position_m) + shift).tolist()
    return replace(camera, position_m=(px, py, pz), quaternion_wxyz=(w, x, y, z))


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def unseen_objects(twin: Twin, seed: int) -> Twin:
    """Return the bench with other objects: other sizes, proportions, masses and shades.

    Instructions stay true: a red box stays red. Marks on the table stay; a drawer keeps its travel
    and gets another handle.
    """
    rng = np.random.default_rng([seed, 0x0B])
    return replace(
        twin,
        name=f"{twin.name}-unseen-objects-{seed}",
        objects=tuple(_other_object(item, rng) for item in twin.objects),
        drawers=tuple(_other_drawer(item, rng) for item in twin.drawers),
    )


def _other_object(model: ObjectModel, rng: np.random.Generator) -> ObjectModel:
    if model.kind == "mark":
        return model
    x, y, z = model.size_m
    if model.kind == "box":
        size = (_unlike(rng, x, BOX_M), _unlike(rng, y, BOX_M), _unlike(rng, z, BOX_M))
    else:
        size = (_unlike(rng, x, BOWL_DIAMETER_M), y, _unlike(rng, z, BOWL_HEIGHT_M))
    mass_kg = round(model.mass_kg * float(rng.uniform(*MASS_FACTOR)), 6)
    return replace(model, size_m=size, mass_kg=mass_kg, colour=_shade(model.colour, rng))


def _other_drawer(model: Drawer, rng: np.random.Generator) -> Drawer:
    depth, width, thickness = model.handle_size_m
    return replace(
        model,
        handle_size_m=(depth, _unlike(rng, width, _scaled(width)), thickness),
        handle_height_m=_unlike(rng, model.handle_height_m, (0.04, 0.082)),
        mass_kg=round(model.mass_kg * float(rng.uniform(*MASS_FACTOR)), 6),
        colour=_shade(model.colour, rng),
        handle_colour=_shade(model.handle_colour, rng),
    )


def _scaled(value: float) -> tuple[float, float]:
    return SIZE_FACTOR[0] * value, SIZE_FACTOR[1] * value


def _unlike(rng: np.random.Generator, known: float, bounds: tuple[float, float]) -> float:
    """Return a size within bounds that is not nearly the known one."""
    for _ in range(MAX_TRIES):
        value = round(float(rng.uniform(*bounds)), 4)
        if abs(value - known) >= UNLIKE * known:
            return value
    raise TwinError(f"no size within {bounds} m differs enough from {known} m")


def _shade(colour: Vector3, rng: np.random.Generator) -> Vector3:
    moved = np.clip(np.asarray(colour) + rng.uniform(-SHADE, SHADE, 3), 0.0, 1.0)
    r, g, b = (round(float(value), 4) for value in moved)
    return (r, g, b)


def unseen_starts(twin: Twin, task: str, count: int, seed: int) -> ConditionList:
    """Return starts of a task that its training never draws: beyond the edges of its ranges.

    Ranges are widened by 40%; every start has an object outside of where objects were trained. How
    far drawers are open, and the distance that objects keep, stay as they are.

    Raises:
        TwinError: if the twin has no such task, or no start is found.
    """
    states = twin.task(task)
    if not states.placements:
        raise TwinError(f"task {task!r} places nothing, so no start of it is unseen")
    wide = narrowed(twin, task, WIDER).task(task)
    wide = replace(wide, drawer_open=states.drawer_open)
    around = replace(twin, tasks=(wide,))
    rng = np.random.default_rng([seed, 0x57A7])
    found: list[InitialCondition] = []
    for _ in range(MAX_TRIES):
        start = sample(around, task, rng, f"unseen-{task}-{seed}-{len(found):04d}")
        if any(map(_outside, states.placements, start.objects)):
            found.append(start)
        if len(found) == count:
            return ConditionList(conditions=tuple(found))
    raise TwinError(f"task {task!r}: no {count} starts beyond its ranges in {MAX_TRIES} draws")


def _outside(place: Placement, pose: ObjectPose) -> bool:
    """Say whether an object stands beyond the range that it is trained in."""
    x, y, _ = pose.position_m
    return any(
        value < low - BEYOND * (high - low) or value > high + BEYOND * (high - low)
        for value, (low, high) in ((x, place.x_m), (y, place.y_m))
    )
