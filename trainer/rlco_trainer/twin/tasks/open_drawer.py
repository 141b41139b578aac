"""Open the drawer: hook the handle from above with closed fingers, pull, let go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_trainer.twin.tasks import drawer, geometry
from rlco_trainer.twin.tasks.base import Phase, SceneView, Segment

Array = NDArray[np.float64]

OPEN = 0.8
"""Opened fraction of the travel from which the drawer counts as open."""
PULL_TO = 0.95
PULLED = 0.2
PULL_STEP_M = 0.04


@dataclass(frozen=True)
class OpenDrawer:
    """Solved when the drawer is at least 80% open, at rest, untouched, for `hold_s`."""

    name: str = "open_drawer"
    objects: tuple[str, ...] = ()
    drawers: tuple[str, ...] = (drawer.DRAWER,)
    moved: str = drawer.HANDLE
    milestones: tuple[str, ...] = ("reached", "pulled", "open", "success")
    hold_s: float = 0.5

    def solved(self, view: SceneView) -> bool:
        """Open, at rest, not touched by a finger."""
        return (
            drawer.opened(view) >= OPEN
            and drawer.settled(view)
            and not geometry.touched(view, drawer.HANDLE)
        )

    def reached(self, view: SceneView) -> int:
        """Fingers behind the handle; a fifth open; open."""
        opened = drawer.opened(view)
        if opened >= OPEN:
            return 2
        if opened >= PULLED:
            return 1
        return 0 if _hooked(view) else -1

    def reward(self, view: SceneView) -> float:
        """Reach behind the handle (.3), pull (.6), let go of it (.1)."""
        if self.solved(view):
            return 1.0
        away = float(np.linalg.norm(self.points(view)[0] - view.T_base_tcp[:3, 3]))
        pulled = min(max(drawer.opened(view), 0.0) / OPEN, 1.0)
        return 0.3 * (1.0 if pulled >= 1.0 else geometry.closeness(away, 0.1)) + 0.6 * pulled

    def points(self, view: SceneView) -> tuple[Array, Array]:
        """Behind the handle; where the handle is to go."""
        hook = drawer.beside_handle(view, drawer.behind_m(view), 0.0)[:3, 3]
        return hook, drawer.handle_at(view, PULL_TO)

    def phases(self) -> tuple[Phase, ...]:
        """Above the gap behind the handle, down, pull, loosen, up."""
        return (
            Phase(name="approach", goal=_above, gripper=0.0, tolerance_m=0.02),
            Phase(name="descend", goal=_behind, gripper=0.0, tolerance_m=0.008, precise=True),
            Phase(
                name="pull",
                goal=_pulled,
                gripper=0.0,
                max_steps=20,
                max_step_m=PULL_STEP_M,
                precise=True,
                holds=_hooked,
                ends=_is_open,
            ),
            Phase(
                name="loosen",
                goal=_loose,
                gripper=0.0,
                tolerance_m=0.006,
                max_steps=5,
                precise=True,
            ),
            Phase(
                name="retreat",
                goal=drawer.lifted,
                gripper=0.0,
                tolerance_m=0.03,
                max_steps=6,
                precise=True,
            ),
        )

    def segments(self) -> tuple[Segment, ...]:
        """Hook the handle; pull it to where it is to go."""
        return (
            Segment(frame=drawer.handle_frame, until="reached"),
            Segment(frame=drawer.cabinet_frame, until="success"),
        )


def _hooked(view: SceneView) -> bool:
    """Say whether the fingers are in the gap behind the bar, low enough to pull it."""
    model = drawer.model(view)
    inward, aside, up = drawer.offset_from_handle(view)
    depth, width, thickness = model.handle_size_m
    return bool(0.0 < inward < depth and abs(aside) < width / 2 - thickness and up < thickness)


def _above(view: SceneView) -> Array:
    return drawer.beside_handle(view, drawer.behind_m(view), drawer.HOVER_M)


def _behind(view: SceneView) -> Array:
    return drawer.beside_handle(view, drawer.behind_m(view), 0.0)


def _pulled(view: SceneView) -> Array:
    return drawer.beside(view, drawer.handle_at(view, PULL_TO), drawer.touching_m(view), 0.0)


def _is_open(view: SceneView) -> bool:
    return drawer.opened(view) >= (OPEN + PULL_TO) / 2


def _loose(view: SceneView) -> Array:
    return drawer.beside_handle(view, drawer.behind_m(view), 0.0)
