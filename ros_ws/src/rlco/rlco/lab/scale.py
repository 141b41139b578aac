"""Somebody in the lab with a kitchen scale: what nothing but a scale tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rlco_calibration.scene import Ruler, RulerEntry
from rlco_calibration.twin import Twin
from rlco_datasets import spec

SCALE_KG = 0.002
"""Standard error of a reading."""


def weigh(hidden: Twin, folder: Path, *, seed: int) -> None:
    """Write the mass of each drawer into a calibration's `ruler.yaml`; one that is there stays.

    Args:
        hidden: the lab's hidden twin, which the scale knows.
        folder: of the calibration.
        seed: of the readings' errors.
    """
    path = folder / "ruler.yaml"
    if path.is_file():
        return
    rng = np.random.default_rng([seed, 0x5CA1E])
    entries = tuple(
        RulerEntry(
            name=f"drawers.{model.name}.mass_kg",
            value=round(model.mass_kg + float(rng.normal(0, SCALE_KG)), 4),
            std=SCALE_KG,
            tool="kitchen scale",
        )
        for model in hidden.drawers
    )
    spec.save(Ruler(entries=entries), path)
