"""Pictures of the bench in which everything's place is known, for colours, lights and noise.

appearance/push_cube_0.yaml      camera, and where arm and objects stand
appearance/push_cube_0_0.png     full frames as the camera publishes them, one after another,
appearance/push_cube_0_1.png     nothing moving: their difference is the sensor's noise
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.initial_condition import InitialCondition

from rlco_calibration.errors import CalibrationError
from rlco_calibration.results import Quantity

UInt8Image = NDArray[np.uint8]

FOLDER = "appearance"
MOST_FRAMES = 10
DARKEST, BRIGHTEST = 4, 250
"""Outside of these a pixel says nothing: black, or saturated."""
OUTLIER_STDS = 5.0
LEAST_SHARE = 0.05
"""Share of a frame's values that must not be saturated."""
ROUNDING_VARIANCE = 1 / 12


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a picture is of: the arm rests tool down, gripper open, objects as they were put."""

    camera: str
    start: InitialCondition


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Frames `(H, W, 3)` RGB of one camera, nothing moving, and what they are of."""

    name: str
    seen: Seen
    frames: tuple[UInt8Image, ...]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean frame, `(H, W, 3)`, counts."""
        return np.asarray(np.mean(np.stack(self.frames), axis=0, dtype=float))


def keep(folder: Path, name: str, seen: Seen, frames: Sequence[UInt8Image]) -> None:
    """Keep a burst in a calibration's folder; the YAML comes last and stands for a whole one.

    Raises:
        CalibrationError: if there are none, or more than `MOST_FRAMES`.
    """
    if not 1 <= len(frames) <= MOST_FRAMES:
        raise CalibrationError(f"{name}: keep 1 to {MOST_FRAMES} frames, got {len(frames)}")
    path = folder / FOLDER
    path.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(path / f"{name}_{index}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    partial = path / f".{name}.partial"
    spec.save(seen, partial)
    os.replace(partial, path / f"{name}.yaml")


def load(folder: Path) -> list[Burst]:
    """Read all bursts of a calibration's folder.

    Raises:
        CalibrationError: if there are none, or a frame is missing or cannot be read.
    """
    paths = sorted((folder / FOLDER).glob("*.yaml"))
    if not paths:
        raise CalibrationError(f"{folder / FOLDER}: no pictures yet. Collect them first.")
    return [_load(path) for path in paths]


def _load(path: Path) -> Burst:
    seen = spec.load(Seen, path)
    files = sorted(path.parent.glob(f"{path.stem}_[0-9].png"))
    frames = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files]
    if not frames or any(frame is None for frame in frames):
        raise CalibrationError(f"{path}: there is no readable {path.stem}_0.png beside it")
    colour = [cv2.cvtColor(np.asarray(frame), cv2.COLOR_BGR2RGB) for frame in frames]
    return Burst(name=path.stem, seen=seen, frames=tuple(np.asarray(f, np.uint8) for f in colour))


def usable(values: NDArray[np.number]) -> NDArray[np.bool_]:
    """Say which pixels `(..., 3)` are neither black nor saturated in any channel, `(...)`."""
    return np.asarray(((values >= DARKEST) & (values <= BRIGHTEST)).all(axis=-1))


def noise(camera: str, bursts: Sequence[Burst]) -> Quantity | None:
    """Return the sensor's noise by how successive frames differ; None without two frames.

    Raises:
        CalibrationError: if nearly all of the frames is saturated, or they are the same.
    """
    variances = []
    for burst in bursts:
        for one, other in zip(burst.frames, burst.frames[1:], strict=False):
            good = usable(one) & usable(other)
            if good.mean() < LEAST_SHARE:
                raise CalibrationError(
                    f"{burst.name}: {100 * (1 - good.mean()):.0f}% of the frame is saturated or "
                    "black. Change the exposure."
                )
            difference = one[good].astype(float) - other[good]
            kept = np.abs(difference) <= OUTLIER_STDS * max(float(np.std(difference)), 1e-9)
            variances.append(float(np.var(difference[kept])) / 2)
    if not variances:
        return None
    if max(variances) == 0.0:
        raise CalibrationError(
            f"{bursts[0].name}: the frames are the same one. Keep frames that follow one another."
        )
    std = float(np.sqrt(max(float(np.mean(variances)) - ROUNDING_VARIANCE, 0.0)))
    spread = float(np.std(variances)) / np.sqrt(len(variances)) / max(2 * std, 0.1)
    error = float(np.hypot(spread, 0.02 * std)) + 0.01
    return Quantity(
        name=f"cameras.{camera}.noise_std",
        value=std,
        std=error,
        low=max(std - 2 * error, 0.0),
        high=std + 2 * error,
        source=f"differences of {len(variances)} pairs of successive frames",
    )
