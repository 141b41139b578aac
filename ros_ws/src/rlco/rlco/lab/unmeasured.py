"""A hidden lab of which nothing was measured yet: what a calibration is graded on.

`draw_lab` leaves alone what a ruler measures well. Here these differ too: lens, table height, the
arm's damping and the drawer's travel. The hidden twin's workspace reaches below its table, so that
the table can be touched.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rlco_calibration.parts import CameraModel
from rlco_calibration.twin import Twin

FOCAL = 0.03
CENTRE_PX = 4.0
K1, K2, TANGENTIAL = 0.08, 0.05, 0.001
TABLE_M = 0.006
DAMPING = 0.2
TRAVEL_M = 0.015
WORKSPACE_FLOOR_M = -0.05


def unmeasure(lab: Twin, *, seed: int) -> Twin:
    """Return the hidden lab with everything else changed that a calibration measures."""
    rng = np.random.default_rng([seed, 0xCA1])
    low_x, low_y, _ = lab.workspace.low_m
    return replace(
        lab,
        cameras=tuple(_lens(camera, rng) for camera in lab.cameras),
        table=replace(lab.table, height_m=_drawn(rng, TABLE_M)),
        arm=replace(lab.arm, damping=lab.arm.damping * (1 + _drawn(rng, DAMPING))),
        drawers=tuple(
            replace(item, travel_m=item.travel_m + _drawn(rng, TRAVEL_M)) for item in lab.drawers
        ),
        workspace=replace(lab.workspace, low_m=(low_x, low_y, WORKSPACE_FLOOR_M)),
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
