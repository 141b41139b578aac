"""A hidden lab of which nothing was measured yet: what a calibration is graded on.

`draw_lab` leaves alone what a ruler measures well. Here these differ too: lens, table height, sizes
of boxes, the arm's damping, the drawer's travel, handle and place, and where the cube starts. The
hidden twin's workspace reaches below its table, so that the table can be touched.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from rlco_calibration.parts import CameraModel, Drawer, InitialStates, ObjectModel, Placement
from rlco_calibration.twin import Twin

FOCAL = 0.03
CENTRE_PX = 4.0
K1, K2, TANGENTIAL = 0.08, 0.05, 0.001
TABLE_M = 0.006
DAMPING = 0.2
TRAVEL_M = 0.015
WORKSPACE_FLOOR_M = -0.05
EDGE_M = 0.003
HANDLE_M = 0.003
CABINET_M, CABINET_RAD = 0.005, 0.02
REGION_M = 0.015
REGION_TASK, REGION_OBJECT = "push_cube", "cube"


def unmeasure(lab: Twin, *, seed: int) -> Twin:
    """Return the hidden lab with everything else changed that a calibration measures."""
    rng = np.random.default_rng([seed, 0xCA1])
    low_x, low_y, _ = lab.workspace.low_m
    lab = replace(
        lab,
        cameras=tuple(_lens(camera, rng) for camera in lab.cameras),
        table=replace(lab.table, height_m=_drawn(rng, TABLE_M)),
        arm=replace(lab.arm, damping=lab.arm.damping * (1 + _drawn(rng, DAMPING))),
        drawers=tuple(
            replace(item, travel_m=item.travel_m + _drawn(rng, TRAVEL_M)) for item in lab.drawers
        ),
        workspace=replace(lab.workspace, low_m=(low_x, low_y, WORKSPACE_FLOOR_M)),
    )
    # Dice of their own: what was drawn before these came stays as it was.
    dice = np.random.default_rng([seed, 0x0B1EC7])
    return replace(
        lab,
        objects=tuple(_box(model, dice) if model.kind == "box" else model for model in lab.objects),
        drawers=tuple(_cabinet(item, lab.table.height_m, dice) for item in lab.drawers),
        tasks=tuple(
            _region(task, dice) if task.name == REGION_TASK else task for task in lab.tasks
        ),
    )


def _box(model: ObjectModel, rng: np.random.Generator) -> ObjectModel:
    x, y, z = (edge + _drawn(rng, EDGE_M) for edge in model.size_m)
    return replace(model, size_m=(x, y, z))


def _cabinet(model: Drawer, table_m: float, rng: np.random.Generator) -> Drawer:
    """Move a cabinet along its drawer and turn it a little; its handle is another too."""
    depth, width, thickness = model.handle_size_m
    along = _drawn(rng, CABINET_M)
    x, y, _ = model.position_m
    return replace(
        model,
        position_m=(
            x + along * math.cos(model.yaw_rad),
            y + along * math.sin(model.yaw_rad),
            table_m,
        ),
        yaw_rad=model.yaw_rad + _drawn(rng, CABINET_RAD),
        handle_size_m=(depth + _drawn(rng, HANDLE_M), width, thickness),
        handle_height_m=model.handle_height_m + _drawn(rng, HANDLE_M),
    )


def _region(task: InitialStates, rng: np.random.Generator) -> InitialStates:
    """Move the edges of where an object starts."""

    def moved(place: Placement) -> Placement:
        (x0, x1), (y0, y1) = place.x_m, place.y_m
        dx0, dx1, dy0, dy1 = (_drawn(rng, REGION_M) for _ in range(4))
        return replace(place, x_m=(x0 + dx0, x1 + dx1), y_m=(y0 + dy0, y1 + dy1))

    return replace(
        task,
        placements=tuple(
            moved(place) if place.name == REGION_OBJECT else place for place in task.placements
        ),
    )


def _drawn(rng: np.random.Generator, size: float) -> float:
    return round(float(rng.uniform(-size, size)), 6)


def _lens(camera: CameraModel, rng: np.random.Generator) -> CameraModel:
    focal = 1 + _drawn(rng, FOCAL)
    return replace(
        camera,
        fx=camera.fx * focal,
        fy=camera.fy * focal * (1 + _drawn(rng, 0.003)),
        cx=camera.cx + _drawn(rng, CENTRE_PX),
        cy=camera.cy + _drawn(rng, CENTRE_PX),
        distortion=(
            _drawn(rng, K1),
            _drawn(rng, K2),
            _drawn(rng, TANGENTIAL),
            _drawn(rng, TANGENTIAL),
            0.0,
        ),
    )
