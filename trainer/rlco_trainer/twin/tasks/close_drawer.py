"""Close the drawer: push its handle with closed fingers, let go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_trainer.twin.tasks import drawer, geometry
from rlco_trainer.twin.tasks.base import Phase, SceneView, Segment

Array = NDArray[np.float64]

CLOSED = 0.05
"""Opened fraction of the travel up to which the drawer counts as closed: 6 mm of 12 cm."""
PUSH_TO = -0.04
STAND_OFF_M = 0.035
PUSH_STEP_M = 0.04


@dataclass(frozen=True)
class CloseDrawer:
    """Solved when the drawer is at most 5% open, at rest, untouched, for `hold_s`."""

    name: str = "close_drawer"
    objects: tuple[str, ...] = ()
    drawers: tuple[str, ...] = (drawer.DRAWER,)
    moved: str = drawer.HANDLE
    milestones: tuple[str, ...] = ("reached", "pushed", "closed", "success")
    hold_s: float = 0.5

    def solved(self, view: SceneView) -> bool:
        """Closed, at rest, not touched by a finger."""
        return (
            drawer.opened(view) <= CLOSED
            and drawer.settled(view)
            and not geometry.touched(view, drawer.HANDLE)
        )

    def reached(self, view: SceneView) -> int:
        """In front of the handle; pushing it; closed."""
        if drawer.opened(view) <= CLOSED:
            return 2
        if geometry.touched(view, drawer.HANDLE):
            return 1
        return 0 if _in_front(view) else -1

    def reward(self, view: SceneView) -> float:
        """Reach the handle (.3), push it home (.6), let go of it (.1)."""
        if self.solved(view):
            return 1.0
        away = float(np.linalg.norm(self.points(view)[0] - view.T_base_tcp[:3, 3]))
        left = min(max(drawer.opened(view) - CLOSED, 0.0) / (1.0 - CLOSED), 1.0)
        return 0.3 * (1.0 if left <= 0.0 else geometry.closeness(away, 0.1)) + 0.6 * (1.0 - left)

    def points(self, view: SceneView) -> tuple[Array, Array]:
        """In front of the handle; where the handle is to go."""
        front = drawer.beside_handle(view, -drawer.touching_m(view), 0.0)[:3, 3]
        return front, drawer.closed_handle(view)

    def phases(self) -> tuple[Phase, ...]:
        """Above a point in front of the handle, down, push, back, up."""
        return (
            Phase(name="approach", goal=_above, gripper=0.0, tolerance_m=0.025),
            Phase(name="descend", goal=_before, gripper=0.0, tolerance_m=0.012, tolerance_rad=0.15),
            Phase(
                name="push",
                goal=_pushed,
                gripper=0.0,
                max_steps=20,
                max_step_m=PUSH_STEP_M,
                precise=True,
                holds=_in_front,
                ends=_is_closed,
            ),
            Phase(name="back", goal=_before, gripper=0.0, tolerance_m=0.01, max_steps=5),
            Phase(name="retreat", goal=drawer.lifted, gripper=0.0, tolerance_m=0.03, max_steps=6),
        )

    def segments(self) -> tuple[Segment, ...]:
        """Come up to the handle; push it home."""
        return (
            Segment(frame=drawer.handle_frame, until="pushed"),
            Segment(frame=drawer.cabinet_frame, until="success"),
        )


def _in_front(view: SceneView) -> bool:
    """Say whether the fingers are on the handle's outer side, at its height."""
    inward, aside, up = drawer.offset_from_handle(view)
    _, width, thickness = drawer.model(view).handle_size_m
    near = -inward < drawer.touching_m(view) + STAND_OFF_M + 0.02
    return bool(inward < 0.0 and near and abs(aside) < width / 2 and abs(up) < 2 * thickness)


def _above(view: SceneView) -> Array:
    inward = -drawer.touching_m(view) - STAND_OFF_M
    return drawer.beside_handle(view, inward, drawer.HOVER_M)


def _before(view: SceneView) -> Array:
    return drawer.beside_handle(view, -drawer.touching_m(view) - STAND_OFF_M, 0.0)


def _pushed(view: SceneView) -> Array:
    return drawer.beside(view, drawer.handle_at(view, PUSH_TO), -drawer.touching_m(view), 0.0)


def _is_closed(view: SceneView) -> bool:
    return drawer.opened(view) <= CLOSED / 2
