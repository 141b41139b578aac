"""Sizes of objects from pictures of them on the measured table: what was captured, and the answer.

objects/
  cube_00.yaml         one capture: clicks, a marker, or depth; written last
  cube_00.png          its frame
  cube_00_depth.png    its depth, 16 bit, millimetres; where there is one

The object's axes: z is up where it stands as in the twin, x and y are its edges. `yaw_rad` says
roughly (within 40 degrees) where x points, so that a brick's length and width are not swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec

from rlco_calibration.errors import CalibrationError

Array = NDArray[np.float64]
Pixel = tuple[float, float]
Axis = Literal["x", "y", "z"]

LARGEST_M, SMALLEST_M = 1.0, 0.003
AXES: tuple[Axis, ...] = ("x", "y", "z")


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Corners of a box, clicked: both lists from left to right in the picture.

    `table`: the three that stand on the table and can be seen. `top`: the three above those; a
    fourth, if given, is the far corner.
    """

    table: tuple[Pixel, ...]
    top: tuple[Pixel, ...]

    def __post_init__(self) -> None:
        """Check the counts."""
        if len(self.table) != 3 or len(self.top) not in (3, 4):
            raise ValueError(
                f"clicks: 3 corners on the table and 3 or 4 on top are needed, got "
                f"{len(self.table)} and {len(self.top)}. Turn the box so that a vertical edge "
                "faces the camera."
            )


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A marker stuck flat on the face that is up; `up` is the object's axis that it tells."""

    number: int
    edge_m: float
    dictionary: str = "APRILTAG_36H11"
    up: Axis = "z"

    def __post_init__(self) -> None:
        """Check that the edge is in metres."""
        if not 0.004 <= self.edge_m <= 0.3:
            raise ValueError(f"tag: an edge of {self.edge_m} m: give the black square's, in metres")


@dataclass(frozen=True, kw_only=True)
class DepthSpot:
    """A pixel on the object in a picture with depth."""

    pixel: Pixel


@dataclass(frozen=True, kw_only=True)
class ObjectCapture:
    """One picture of one object, with what tells its size: one of clicks, tag and depth."""

    object: str
    camera: str
    yaw_rad: float = 0.0
    clicks: Clicks | None = None
    tag: Tag | None = None
    depth: DepthSpot | None = None

    def __post_init__(self) -> None:
        """Check that there is exactly one way to measure."""
        given = [name for name in ("clicks", "tag", "depth") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"object capture: give one of clicks, tag and depth, got {given}")


@dataclass(frozen=True, kw_only=True)
class SizeEstimate:
    """One edge of an object by one method."""

    object: str
    axis: int
    value_m: float
    std_m: float
    degrees: float
    source: str


class ObjectFolder:
    """The folder of captures of objects."""

    def __init__(self, path: Path) -> None:
        """Take the folder; it need not be there."""
        self.path = path

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> list[str]:
        """The captures' names, in order."""
        return sorted(path.stem for path in self.path.glob("*.yaml"))

    def add(
        self,
        capture: ObjectCapture,
        frame: NDArray[np.uint8],
        depth_mm: NDArray[np.uint16] | None = None,
    ) -> str:
        """Keep a capture: its frame `(H, W, 3)` RGB, depth `(H, W)` if any; return its name.

        Raises:
            CalibrationError: if the disk does not take it, or depth is missing or superfluous.
        """
        if (capture.depth is None) != (depth_mm is None):
            raise CalibrationError("a capture by depth needs a depth picture, and no other does")
        number = sum(name.rpartition("_")[0] == capture.object for name in self.names)
        name = f"{capture.object}_{number:02d}"
        self.path.mkdir(parents=True, exist_ok=True)
        pictures = {f"{name}.png": cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)}
        if depth_mm is not None:
            pictures[f"{name}_depth.png"] = np.asarray(depth_mm, np.uint16)
        for file, picture in pictures.items():
            if not cv2.imwrite(str(self.path / file), picture):
                raise CalibrationError(f"{self.path}: cannot write {file}. Is the disk full?")
        spec.save(capture, self.path / f"{name}.yaml")
        return name

    def capture(self, name: str) -> ObjectCapture:
        """Read one capture."""
        return spec.load(ObjectCapture, self.path / f"{name}.yaml")

    def frame(self, name: str) -> NDArray[np.uint8]:
        """Read a capture's frame `(H, W, 3)` RGB.

        Raises:
            CalibrationError: naming it, if it cannot be read.
        """
        return np.asarray(
            cv2.cvtColor(self._read(f"{name}.png", cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8
        )

    def depth_mm(self, name: str) -> NDArray[np.uint16]:
        """Read a capture's depth `(H, W)`, millimetres, 0 where unknown.

        Raises:
            CalibrationError: naming it, if it cannot be read or is not of 16 bits.
        """
        picture = self._read(f"{name}_depth.png", cv2.IMREAD_UNCHANGED)
        if picture.ndim != 2 or picture.dtype != np.uint16:
            raise CalibrationError(
                f"{self.path / name}_depth.png is {picture.dtype} of shape {picture.shape}: depth "
                "must be a 16 bit picture of one channel, in millimetres"
            )
        return np.asarray(picture, np.uint16)

    def _read(self, file: str, mode: int) -> NDArray[np.generic]:
        picture = cv2.imread(str(self.path / file), mode)
        if picture is None:
            raise CalibrationError(
                f"{self.path / file} cannot be read. Move its YAML away to go on without it."
            )
        return np.asarray(picture)


def combined(estimates: Sequence[SizeEstimate]) -> tuple[list[SizeEstimate], list[str]]:
    """Return one estimate for every edge, weighted by certainty, and notes on contradictions."""
    found, notes = [], []
    for key in dict.fromkeys((item.object, item.axis) for item in estimates):
        mine = [item for item in estimates if (item.object, item.axis) == key]
        weights = np.array([1 / item.std_m**2 for item in mine])
        value = float(weights @ [item.value_m for item in mine] / weights.sum())
        for item in mine:
            if abs(item.value_m - value) > 4 * item.std_m:
                notes.append(
                    f"{item.object}: edge {AXES[item.axis]} is {item.value_m * 1000:.1f} mm by "
                    f"{item.source}, {value * 1000:.1f} mm by all: more than their uncertainties "
                    "allow. Measure it by hand."
                )
        found.append(
            SizeEstimate(
                object=key[0],
                axis=key[1],
                value_m=value,
                std_m=float(1 / np.sqrt(weights.sum())),
                degrees=max(item.degrees for item in mine),
                source="; ".join(item.source for item in mine),
            )
        )
    return found, notes


def check_size(name: str, sizes_m: Sequence[float]) -> None:
    """Raise `CalibrationError` if a size is not one of a thing on a bench."""
    for size in sizes_m:
        if not SMALLEST_M <= size <= LARGEST_M:
            raise CalibrationError(
                f"{name}: an edge of {size * 1000:.1f} mm cannot be. Are the clicks on the right "
                "corners, and is the camera's calibration of this camera?"
            )
