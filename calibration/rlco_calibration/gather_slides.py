"""Collect pushes of the open drawer towards shut, for its friction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rlco_datasets.initial_condition import InitialCondition

from rlco_calibration import excite, excite_drawer
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather_scene import DRAWER_TASK
from rlco_calibration.initial_states import sample
from rlco_calibration.port import BenchPort
from rlco_calibration.twin import Twin
from rlco_calibration.walk import SCENE, Walk

Say = Callable[[str], None]


def slides(port: BenchPort, walk: Walk, say: Say) -> None:
    """Push the drawer from its stop towards shut, slowly first, and record arm and handle.

    Raises:
        CalibrationError: if nothing tracks the handle.
    """
    twin = walk.measured(SCENE)
    if not twin.drawers:
        return
    model = twin.drawers[0]
    for index, periods in enumerate(excite_drawer.PERIODS):
        path = walk.folder / "slides" / f"{index:02d}.npz"
        if path.is_file():
            continue
        condition = pulled_out(twin, f"slide-{index}")
        port.lay_out(condition)
        handle = port.objects().get(model.handle_name)
        if handle is None:
            raise CalibrationError(
                f"nothing tells where {model.handle_name!r} is: a drawer's friction needs a "
                "tracker of its handle. Type friction into ruler.yaml instead."
            )
        targets = excite_drawer.slide(
            port.read().T_base_tcp,
            handle[:3, 3],
            model,
            floor_m=twin.table.height_m,
            periods=periods,
        )
        excite.follow(port, condition, targets, width_m=0.0).save(path)
        say(f"pushes of the drawer: {index + 1} of {len(excite_drawer.PERIODS)}")


def pulled_out(twin: Twin, name: str) -> InitialCondition:
    """Return a start with the drawer at its stop; the cabinet stays where it stands."""
    start = sample(twin, DRAWER_TASK, np.random.default_rng(0), name)
    others = tuple(item for item in start.objects if item.name != twin.drawers[0].name)
    return replace(start, objects=others, drawer_open=1.0)
