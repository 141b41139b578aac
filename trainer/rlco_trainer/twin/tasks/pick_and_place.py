"""Pick and place: the cube into the bowl."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_trainer.twin.shapes import bowl_inner_radius_m
from rlco_trainer.twin.tasks import geometry
from rlco_trainer.twin.tasks.base import Phase, SceneView, Segment

Array = NDArray[np.float64]

CUBE, BOWL = "cube", "bowl"
HOVER_M = 0.09
LIFTED_M = 0.03
RELEASE_ABOVE_RIM_M = 0.014
"""Height of the TCP over the rim at release: the fingertips, 9 mm lower, open clear of the bowl."""
SYMMETRY_RAD = math.pi / 2


@dataclass(frozen=True)
class PickAndPlace:
    """Solved when the cube rests in the bowl, untouched, for `hold_s`."""

    name: str = "pick_and_place"
    objects: tuple[str, ...] = (CUBE, BOWL)
    drawers: tuple[str, ...] = ()
    moved: str = CUBE
    milestones: tuple[str, ...] = ("reached", "grasped", "lifted", "over_bowl", "success")
    hold_s: float = 0.5

    def solved(self, view: SceneView) -> bool:
        """In the bowl, below its rim, at rest, not touched by a finger."""
        return (
            _in_bowl(view)
            and geometry.settled(view, CUBE)
            and geometry.settled(view, BOWL)
            and not geometry.touched(view, CUBE)
        )

    def reached(self, view: SceneView) -> int:
        """Near the cube; grasped; 3 cm above its rest; above the bowl's opening."""
        cube, tcp = view.object_pose(CUBE)[:3, 3], view.T_base_tcp[:3, 3]
        if geometry.grasped(view, CUBE):
            if _height_m(view) < LIFTED_M:
                return 1
            return 3 if _bowl_offset_m(view) < _opening_m(view) else 2
        return 0 if np.linalg.norm(cube - tcp) < 0.03 else -1

    def reward(self, view: SceneView) -> float:
        """Reach (.2), grasp (.2), carry to the bowl (.3), rest in it (.2), released (.1)."""
        if self.solved(view):
            return 1.0
        cube, tcp = view.object_pose(CUBE)[:3, 3], view.T_base_tcp[:3, 3]
        reach = geometry.closeness(float(np.linalg.norm(cube - tcp)), 0.1)
        if _in_bowl(view):
            return 0.9
        held = geometry.grasped(view, CUBE)
        lift = min(max(_height_m(view), 0.0) / LIFTED_M, 1.0) if held else 0.0
        carry = lift * geometry.closeness(_bowl_offset_m(view), 0.15)
        return 0.2 * reach + 0.2 * held + 0.1 * lift + 0.3 * carry

    def points(self, view: SceneView) -> tuple[Array, Array]:
        """The cube's centre; the centre of the bowl's floor."""
        return view.object_pose(CUBE)[:3, 3], view.object_pose(BOWL)[:3, 3]

    def phases(self) -> tuple[Phase, ...]:
        """Above the cube, down, close, up, above the bowl, open, away."""
        return (
            Phase(name="approach", goal=_above_cube, gripper=1.0, tolerance_m=0.02),
            Phase(name="descend", goal=_at_cube, gripper=1.0, tolerance_m=0.008, precise=True),
            Phase(
                name="grasp",
                goal=_stay,
                gripper=0.0,
                tolerance_m=0.05,
                min_steps=3,
                max_steps=5,
                precise=True,
            ),
            Phase(
                name="lift",
                goal=_lifted,
                gripper=0.0,
                tolerance_m=0.03,
                precise=True,
                holds=_between_fingers,
            ),
            Phase(
                name="carry",
                goal=_above_bowl,
                gripper=0.0,
                tolerance_m=0.015,
                tolerance_rad=3.0,
                holds=_between_fingers,
            ),
            Phase(
                name="lower",
                goal=_at_bowl,
                gripper=0.0,
                tolerance_m=0.015,
                tolerance_rad=3.0,
                precise=True,
                holds=_between_fingers,
            ),
            Phase(
                name="release",
                goal=_stay,
                gripper=1.0,
                tolerance_m=0.05,
                min_steps=3,
                max_steps=5,
                precise=True,
            ),
            Phase(name="retreat", goal=_away, gripper=1.0, tolerance_m=0.03, max_steps=6),
        )

    def segments(self) -> tuple[Segment, ...]:
        """Pick the cube up; bring it to the bowl."""
        return (
            Segment(frame=_cube_frame, until="lifted"),
            Segment(frame=_bowl_frame, until="success"),
        )


def _in_bowl(view: SceneView) -> bool:
    bowl = view.twin.object_model(BOWL)
    T_base_bowl = view.object_pose(BOWL)
    offset = view.object_pose(CUBE)[:3, 3] - T_base_bowl[:3, 3]
    upright = T_base_bowl[2, 2] > 0.9
    inside = math.hypot(offset[0], offset[1]) < bowl_inner_radius_m(bowl)
    return upright and inside and 0.0 < offset[2] < bowl.size_m[2]


def _height_m(view: SceneView) -> float:
    """Height of the cube above its rest on the table."""
    rest = view.twin.table.height_m + view.twin.object_model(CUBE).size_m[2] / 2
    return float(view.object_pose(CUBE)[2, 3]) - rest


def _bowl_offset_m(view: SceneView) -> float:
    offset = view.object_pose(CUBE)[:2, 3] - view.object_pose(BOWL)[:2, 3]
    return float(np.hypot(*offset))


def _opening_m(view: SceneView) -> float:
    return bowl_inner_radius_m(view.twin.object_model(BOWL))


def _grasp_yaw_rad(view: SceneView) -> float:
    yaw = geometry.object_yaw_rad(view.object_pose(CUBE))
    return geometry.nearest_equivalent_rad(yaw, 0.0, SYMMETRY_RAD)


def _above_cube(view: SceneView) -> Array:
    position = view.object_pose(CUBE)[:3, 3] + np.array([0.0, 0.0, HOVER_M])
    return geometry.tool_down(position, _grasp_yaw_rad(view))


def _at_cube(view: SceneView) -> Array:
    return geometry.tool_down(view.object_pose(CUBE)[:3, 3], _grasp_yaw_rad(view))


def _stay(view: SceneView) -> Array:
    return view.T_base_target


def _carry_height_m(view: SceneView) -> float:
    """Height of the TCP at which the cube clears the bowl's rim."""
    bowl, cube = view.twin.object_model(BOWL), view.twin.object_model(CUBE)
    return float(view.twin.table.height_m + bowl.size_m[2] + cube.size_m[2] / 2 + 0.04)


def _lifted(view: SceneView) -> Array:
    target = view.T_base_target.copy()
    target[2, 3] = max(_carry_height_m(view), target[2, 3])
    return target


def _held_offset_m(view: SceneView) -> Array:
    """Return from the held cube's centre to the TCP."""
    return np.asarray(view.T_base_tcp[:3, 3] - view.object_pose(CUBE)[:3, 3])


def _above_bowl(view: SceneView) -> Array:
    target = view.T_base_target.copy()
    target[:2, 3] = view.object_pose(BOWL)[:2, 3] + _held_offset_m(view)[:2]
    target[2, 3] = _carry_height_m(view)
    return target


def _at_bowl(view: SceneView) -> Array:
    target = _above_bowl(view)
    rim = view.twin.table.height_m + view.twin.object_model(BOWL).size_m[2]
    target[2, 3] = rim + RELEASE_ABOVE_RIM_M
    return target


def _away(view: SceneView) -> Array:
    target = view.T_base_target.copy()
    target[2, 3] = _carry_height_m(view) + 0.06
    return target


def _between_fingers(view: SceneView) -> bool:
    offset = float(np.linalg.norm(_held_offset_m(view)))
    return offset < 0.03 and view.gripper_width_m > 0.01


def _cube_frame(view: SceneView) -> Array:
    return geometry.upright(view.object_pose(CUBE)[:3, 3], _grasp_yaw_rad(view))


def _bowl_frame(view: SceneView) -> Array:
    return geometry.upright(view.object_pose(BOWL)[:3, 3], 0.0)
