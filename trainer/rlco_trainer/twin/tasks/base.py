"""What a task is: its objects, when it is solved, its reward, and how an expert goes about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]


class SceneView(Protocol):
    """The privileged state of a scene that tasks and experts read. Base frame, m, rad."""

    @property
    def twin(self) -> Twin:
        """The bench."""

    @property
    def T_base_tcp(self) -> Array:  # noqa: N802
        """The measured TCP pose."""

    @property
    def T_base_target(self) -> Array:  # noqa: N802
        """The pose commanded last."""

    @property
    def gripper_width_m(self) -> float:
        """The measured opening between the fingers."""

    def object_pose(self, name: str) -> Array:
        """Return `T_base_object` `(4, 4)`."""

    def object_speed(self, name: str) -> tuple[float, float]:
        """Return the linear (m/s) and angular (rad/s) speed of an object."""

    def touch_force_n(self, name: str) -> tuple[float, float]:
        """Return the force between an object and the left and the right finger, N."""


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """How far an episode has come.

    `milestone` is the furthest of `milestones` reached in the episode so far ("start" at first);
    `success` is the state now: released, settled, and held so for the task's `hold_s`.
    """

    success: bool
    milestone: str
    milestones: tuple[str, ...]
    held_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One leg of an expert's way: go to a pose, with a gripper opening, until it is reached.

    `goal` returns the TCP pose to go to, from the state now (so an expert follows objects that
    move). The phase ends when the TCP is within the tolerances, after at least `min_steps`.
    `precise` phases get less action noise. If `holds` is given and turns false, the expert starts
    over.
    """

    name: str
    goal: Callable[[SceneView], Array]
    gripper: float
    tolerance_m: float = 0.012
    tolerance_rad: float = 0.1
    min_steps: int = 1
    max_steps: int = 25
    max_step_m: float = 1.0
    precise: bool = False
    holds: Callable[[SceneView], bool] | None = None
    ends: Callable[[SceneView], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A leg of the task that is about one thing: it goes where that thing goes.

    `frame` returns the thing's upright frame (z up, yaw about it) from the state now; of a thing
    that looks the same after a turn, that with the yaw nearest to 0. The segment ends at the
    milestone `until`.
    """

    frame: Callable[[SceneView], Array]
    until: str


class Task(Protocol):
    """One task, without state: everything is read from the scene."""

    @property
    def name(self) -> str:
        """The name, as in the twin's `tasks`."""

    @property
    def objects(self) -> tuple[str, ...]:
        """The names of the twin's objects that it needs."""

    @property
    def drawers(self) -> tuple[str, ...]:
        """The names of the twin's drawers that it needs."""

    @property
    def moved(self) -> str:
        """The name of what is to be moved: an object, or a drawer's handle."""

    @property
    def milestones(self) -> tuple[str, ...]:
        """What is reached on the way, in order; the last is "success"."""

    @property
    def hold_s(self) -> float:
        """How long the solved state must be held."""

    def solved(self, view: SceneView) -> bool:
        """Say whether the state now is a solved one: in place, released and settled."""

    def reached(self, view: SceneView) -> int:
        """Return the index of the furthest milestone that the state now shows; -1 for none."""

    def reward(self, view: SceneView) -> float:
        """Return a shaped reward in [0, 1] of the state now; 1 where it is solved."""

    def points(self, view: SceneView) -> tuple[Array, Array]:
        """Return where the hand has to go and where the object has to go, each `(3,)`, m."""

    def phases(self) -> tuple[Phase, ...]:
        """Return the expert's way."""

    def segments(self) -> tuple[Segment, ...]:
        """Return the legs that a demonstration is cut into; the last ends at "success"."""
