"""The twin file: the measured bench, every number with its source and uncertainty.

All poses are in the robot base frame `base` (Franka link 0: x forward, z up), metres and radians.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from rlco_datasets import spec

from rlco_calibration.background import Background
from rlco_calibration.parts import (
    ArmController,
    CameraModel,
    Drawer,
    InitialStates,
    Lighting,
    ObjectModel,
    Provenance,
    Table,
    Workspace,
)


class Named(Protocol):
    """A part of the twin that has a name."""

    @property
    def name(self) -> str:
        """The name, distinct within its group."""


NamedT = TypeVar("NamedT", bound=Named)


class TwinError(ValueError):
    """A twin file may not be used here, or lacks what is asked of it."""


@dataclass(frozen=True, kw_only=True)
class Twin:
    """The measured bench. A task scene is built from this and nothing else."""

    name: str
    contract_id: str
    cameras: tuple[CameraModel, ...]
    tasks: tuple[InitialStates, ...]
    table: Table = field(default_factory=Table)
    objects: tuple[ObjectModel, ...] = ()
    drawers: tuple[Drawer, ...] = ()
    arm: ArmController = field(default_factory=ArmController)
    workspace: Workspace = field(default_factory=Workspace)
    lighting: Lighting = field(default_factory=Lighting)
    backgrounds: tuple[Background, ...] = field(default=(), metadata={spec.LEFT_OUT_IF_EMPTY: True})
    """Real photos behind the twin, each named after its camera; cameras without one show a room."""
    provenance: tuple[Provenance, ...] = ()
    hidden: bool = False
    """True for the ground truth of a simulated lab: only the lab itself may read it."""
    version: int = 1

    def __post_init__(self) -> None:
        """Check version and that names are distinct and refer to something."""
        if self.version != 1:
            raise ValueError(f"twin version {self.version} is unknown; this software reads 1")
        groups: dict[str, tuple[Named, ...]] = {
            "cameras": self.cameras,
            "tasks": self.tasks,
            "objects": self.objects,
            "drawers": self.drawers,
            "provenance": self.provenance,
            "backgrounds": self.backgrounds,
        }
        for group, items in groups.items():
            names = [item.name for item in items]
            if len(set(names)) != len(names):
                raise ValueError(f"{group}: names must be distinct, got {names}")
        cameras = {camera.name for camera in self.cameras}
        for photo in self.backgrounds:
            if photo.name not in cameras:
                raise ValueError(f"background {photo.name}: no such camera among {sorted(cameras)}")
        movable = [item.name for item in self.objects]
        for drawer in self.drawers:
            movable += [drawer.name, drawer.handle_name]
        if len(set(movable)) != len(movable):
            raise ValueError(f"objects, drawers and handles need distinct names, got {movable}")
        known = {item.name for item in self.objects} | {item.name for item in self.drawers}
        for task in self.tasks:
            unknown = [place.name for place in task.placements if place.name not in known]
            if unknown:
                raise ValueError(f"task {task.name}: places unknown objects {unknown}")

    @cached_property
    def id(self) -> str:
        """The content hash: equal ids mean equal twins."""
        return spec.content_hash(self)

    def camera(self, name: str) -> CameraModel:
        """Return the camera called `name`, or raise `TwinError` naming those there are."""
        return self._named(self.cameras, name, "cameras")

    def background(self, camera: str) -> Background | None:
        """Return the photo behind what a camera sees, or None where there is none."""
        return next((item for item in self.backgrounds if item.name == camera), None)

    def task(self, name: str) -> InitialStates:
        """Return the task called `name`, or raise `TwinError` naming those there are."""
        return self._named(self.tasks, name, "tasks")

    def object_model(self, name: str) -> ObjectModel:
        """Return the object called `name`, or raise `TwinError` naming those there are."""
        return self._named(self.objects, name, "objects")

    def drawer(self, name: str) -> Drawer:
        """Return the drawer called `name`, or raise `TwinError` naming those there are."""
        return self._named(self.drawers, name, "drawers")

    def _named(self, items: tuple[NamedT, ...], name: str, group: str) -> NamedT:
        for item in items:
            if item.name == name:
                return item
        known = sorted(item.name for item in items)
        raise TwinError(f"twin {self.name!r} has no {name!r} among its {group}; it has {known}")


def load_twin(path: str | os.PathLike[str]) -> Twin:
    """Read a twin for training or calibration.

    Raises:
        SpecError: if the file is missing or malformed.
        TwinError: if the file is the hidden twin of a simulated lab.
    """
    twin = spec.load(Twin, path)
    if twin.hidden:
        raise TwinError(
            f"{Path(path)}: this is the hidden twin of a simulated lab, the ground truth that "
            "training and calibration may not see. Use the training twin, or calibrate one."
        )
    return twin


def demo_bench() -> Path:
    """Return the path of the demo bench's training twin, which ships with the package."""
    return Path(__file__).with_name("bench.yaml")
