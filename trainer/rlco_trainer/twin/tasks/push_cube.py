"""Push the cube onto the goal mark, with closed fingers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_trainer.twin.tasks import geometry
from rlco_trainer.twin.tasks.base import Phase, SceneView, Segment

Array = NDArray[np.float64]

CUBE, GOAL = "cube", "goal"
GOAL_TOLERANCE_M = 0.025
STOP_WITHIN_M = 0.006
FINGER_HALF_DEPTH_M = 0.011
STAND_OFF_M = 0.035
PUSH_STEP_M = 0.04
CENTRING = 0.3
MAX_PUSH_YAW_RAD = 0.9


@dataclass(frozen=True)
class PushCube:
    """Solved when the cube rests within 2.5 cm of the mark's centre, untouched, for `hold_s`."""

    name: str = "push_cube"
    objects: tuple[str, ...] = (CUBE, GOAL)
    drawers: tuple[str, ...] = ()
    moved: str = CUBE
    milestones: tuple[str, ...] = ("reached", "pushed", "on_goal", "success")
    hold_s: float = 0.5

    def solved(self, view: SceneView) -> bool:
        """On the mark, on the table, at rest, not touched by a finger."""
        return (
            _to_goal_m(view)[1] < GOAL_TOLERANCE_M
            and _on_table(view)
            and geometry.settled(view, CUBE)
            and not geometry.touched(view, CUBE)
        )

    def reached(self, view: SceneView) -> int:
        """Near the cube; pushing it; on the mark."""
        if _to_goal_m(view)[1] < GOAL_TOLERANCE_M:
            return 2
        if geometry.touched(view, CUBE):
            return 1
        cube, tcp = view.object_pose(CUBE)[:3, 3], view.T_base_tcp[:3, 3]
        return 0 if np.linalg.norm(cube - tcp) < 0.07 else -1

    def reward(self, view: SceneView) -> float:
        """Reach the cube (.3), bring it to the mark (.6), let go of it (.1)."""
        if self.solved(view):
            return 1.0
        cube, tcp = view.object_pose(CUBE)[:3, 3], view.T_base_tcp[:3, 3]
        reach = geometry.closeness(float(np.linalg.norm(cube - tcp)), 0.1)
        return 0.3 * reach + 0.6 * geometry.closeness(_to_goal_m(view)[1], 0.15)

    def points(self, view: SceneView) -> tuple[Array, Array]:
        """The cube's centre; the mark's centre."""
        return view.object_pose(CUBE)[:3, 3], view.object_pose(GOAL)[:3, 3]

    def phases(self) -> tuple[Phase, ...]:
        """Above a point behind the cube, down, push, back, up."""
        return (
            Phase(name="approach", goal=_above_start, gripper=0.0, tolerance_m=0.02),
            Phase(
                name="descend", goal=_at_start, gripper=0.0, tolerance_m=0.012, tolerance_rad=0.15
            ),
            Phase(
                name="push",
                goal=_pushing,
                gripper=0.0,
                tolerance_m=0.0,
                max_steps=30,
                max_step_m=PUSH_STEP_M,
                precise=True,
                holds=_behind,
                ends=_arrived,
            ),
            Phase(name="back", goal=_backed, gripper=0.0, tolerance_m=0.01, max_steps=8),
            Phase(name="retreat", goal=_away, gripper=0.0, tolerance_m=0.03, max_steps=6),
        )

    def segments(self) -> tuple[Segment, ...]:
        """Come up behind the cube, facing the mark; push it onto the mark."""
        return (
            Segment(frame=_cube_frame, until="pushed"),
            Segment(frame=_goal_frame, until="success"),
        )


def _to_goal_m(view: SceneView) -> tuple[Array, float]:
    """Return the unit vector `(2,)` and the distance from the cube to the mark."""
    offset = view.object_pose(GOAL)[:2, 3] - view.object_pose(CUBE)[:2, 3]
    distance = float(np.hypot(*offset))
    return offset / max(distance, 1e-9), distance


def _on_table(view: SceneView) -> bool:
    rest = view.twin.table.height_m + view.twin.object_model(CUBE).size_m[2] / 2
    return abs(float(view.object_pose(CUBE)[2, 3]) - rest) < 0.01


def _push_pose(view: SceneView, gap_m: float, height_m: float) -> Array:
    """Return the pose behind the cube, `gap_m` between fingers and cube, facing the mark."""
    direction, _ = _to_goal_m(view)
    T_base_cube = view.object_pose(CUBE)
    edge = view.twin.object_model(CUBE).size_m[0]
    turn = geometry.nearest_equivalent_rad(
        geometry.object_yaw_rad(T_base_cube) - math.atan2(direction[1], direction[0]),
        0.0,
        math.pi / 2,
    )
    reach = edge / 2 / math.cos(turn) + FINGER_HALF_DEPTH_M + gap_m
    yaw = float(
        np.clip(math.atan2(direction[1], direction[0]), -MAX_PUSH_YAW_RAD, MAX_PUSH_YAW_RAD)
    )
    position = np.append(T_base_cube[:2, 3] - reach * direction, height_m)
    return geometry.tool_down(position, yaw)


def _low_m(view: SceneView) -> float:
    return float(view.twin.table.height_m + view.twin.object_model(CUBE).size_m[2] / 2)


def _above_start(view: SceneView) -> Array:
    return _push_pose(view, STAND_OFF_M, _low_m(view) + 0.07)


def _at_start(view: SceneView) -> Array:
    return _push_pose(view, STAND_OFF_M, _low_m(view))


def _heading(view: SceneView) -> Array:
    """Return the unit vector `(2,)` that the closed fingers face."""
    yaw = geometry.tcp_yaw_rad(view.T_base_tcp)
    return np.array([math.cos(yaw), math.sin(yaw)])


def _ahead_m(view: SceneView) -> float:
    """Return how far the mark lies ahead of the cube, as the fingers face."""
    offset = view.object_pose(GOAL)[:2, 3] - view.object_pose(CUBE)[:2, 3]
    return float(offset @ _heading(view))


def _pushing(view: SceneView) -> Array:
    """Go the way that the cube has to go: it sticks to the flat of the fingers.

    A part of the sideways offset between fingers and cube is taken back at every step.
    """
    direction, distance = _to_goal_m(view)
    x, y = _heading(view)
    left = np.array([-y, x])
    slip = float((view.object_pose(CUBE)[:2, 3] - view.T_base_tcp[:2, 3]) @ left)
    target = view.T_base_target.copy()
    step = min(distance, PUSH_STEP_M) * direction + CENTRING * slip * left
    target[:2, 3] = view.T_base_tcp[:2, 3] + step
    target[2, 3] = _low_m(view)
    return target


def _arrived(view: SceneView) -> bool:
    near = _to_goal_m(view)[1] < GOAL_TOLERANCE_M
    return _to_goal_m(view)[1] < STOP_WITHIN_M or (near and _ahead_m(view) < STOP_WITHIN_M / 2)


def _behind(view: SceneView) -> bool:
    """Say whether the fingers are still behind the cube, as seen from the mark."""
    direction, distance = _to_goal_m(view)
    offset = view.object_pose(CUBE)[:2, 3] - view.T_base_tcp[:2, 3]
    along = float(offset @ direction)
    across = float(abs(offset[0] * direction[1] - offset[1] * direction[0]))
    return distance < GOAL_TOLERANCE_M or (along > 0 and across < 0.8 * along + 0.01)


def _backed(view: SceneView) -> Array:
    target = view.T_base_target.copy()
    yaw = geometry.tcp_yaw_rad(target)
    cube = view.object_pose(CUBE)[:2, 3]
    edge = view.twin.object_model(CUBE).size_m[0]
    away = np.array([math.cos(yaw), math.sin(yaw)])
    target[:2, 3] = cube - (edge + 0.04) * away
    return target


def _away(view: SceneView) -> Array:
    target = view.T_base_target.copy()
    target[2, 3] = _low_m(view) + 0.12
    return target


def _cube_frame(view: SceneView) -> Array:
    return geometry.upright(view.object_pose(CUBE)[:3, 3], _way_rad(view))


def _goal_frame(view: SceneView) -> Array:
    return geometry.upright(view.object_pose(GOAL)[:3, 3], _way_rad(view))


def _way_rad(view: SceneView) -> float:
    """Return the direction from the cube to the mark."""
    direction, _ = _to_goal_m(view)
    return math.atan2(direction[1], direction[0])
