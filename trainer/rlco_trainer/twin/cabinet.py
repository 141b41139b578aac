"""A cabinet with one drawer, from boxes: what it is made of, and how it slides.

The cabinet's frame is at the centre of its floor, on the table. The sliding part's frame is at the
centre of the handle's bar, with the cabinet's axes, so that its pose is the handle's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien
import sapien.physx as physx
from numpy.typing import NDArray
from rlco_calibration.parts import Drawer
from rlco_datasets.frames import inverse, pose_matrix
from sapien.wrapper.articulation_builder import ArticulationBuilder

from rlco_trainer.twin import robot
from rlco_trainer.twin.shapes import Part

Array = NDArray[np.float64]

WALL_M = 0.008
CLEARANCE_M = 0.002
DRAWER_HEIGHT_SHARE = 0.6
"""Height of the drawer's sides as a share of the room inside the cabinet."""
STICTION_DAMPING_N_S_PER_M = 1e4
"""Slope of the friction force about zero speed: what is pushed with less creeps under .1 mm/s."""


def cabinet_pose(model: Drawer) -> Array:
    """Return `T_base_cabinet` as the twin states it."""
    c, s = np.cos(model.yaw_rad), np.sin(model.yaw_rad)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return pose_matrix(np.array(model.position_m), rotation)


def cabinet_parts(model: Drawer) -> list[Part]:
    """Return the floor, the top, the sides and the back, in the cabinet's frame."""
    x, y, z = np.array(model.size_m) / 2
    front = -x + WALL_M
    return [
        _part((front, -y, 0.0), (x, y, WALL_M)),
        _part((front, -y, 2 * z - WALL_M), (x, y, 2 * z)),
        _part((front, -y, 0.0), (x, -y + WALL_M, 2 * z)),
        _part((front, y - WALL_M, 0.0), (x, y, 2 * z)),
        _part((x - WALL_M, -y, 0.0), (x, y, 2 * z)),
    ]


def drawer_parts(model: Drawer) -> list[Part]:
    """Return the drawer's front, floor, sides and back, in the handle's frame."""
    x, y, z = np.array(model.size_m) / 2
    inside_x, inside_y = x - WALL_M - CLEARANCE_M, y - WALL_M - CLEARANCE_M
    low = WALL_M + CLEARANCE_M
    high = low + DRAWER_HEIGHT_SHARE * (2 * z - 2 * low)
    front = -x + WALL_M
    return [
        _in_handle(model, part)
        for part in (
            _part((-x, -y, 0.0), (front, y, 2 * z)),
            _part((front, -inside_y, low), (inside_x, inside_y, low + WALL_M)),
            _part((front, -inside_y, low), (inside_x, -inside_y + WALL_M, high)),
            _part((front, inside_y - WALL_M, low), (inside_x, inside_y, high)),
            _part((inside_x - WALL_M, -inside_y, low), (inside_x, inside_y, high)),
        )
    ]


def handle_parts(model: Drawer) -> list[Part]:
    """Return the handle's bar and its two posts, in the handle's frame."""
    depth, width, thickness = model.handle_size_m
    half, end = thickness / 2, width / 2
    return [
        _part((-half, -end, -half), (half, end, half)),
        _part((half, -end, -half), (depth - half, -end + thickness, half)),
        _part((half, end - thickness, -half), (depth - half, end, half)),
    ]


class CabinetBody:
    """A cabinet in a physics scene: an articulation whose root does not move."""

    def __init__(self, scene: Any, model: Drawer, T_base_cabinet: Array, opened: float) -> None:
        """Add it to the scene, at rest, `opened` in [0, 1] of its travel."""
        material = physx.PhysxMaterial(model.friction, model.friction, 0.0)
        builder = ArticulationBuilder().set_scene(scene)
        cabinet = builder.create_link_builder()
        cabinet.set_name(model.name)
        slide = builder.create_link_builder(cabinet)
        slide.set_name(model.handle_name)
        for link, parts in (
            (cabinet, cabinet_parts(model)),
            (slide, drawer_parts(model) + handle_parts(model)),
        ):
            for part in parts:
                pose = sapien.Pose(part.T_object_part.astype(np.float32))
                link.add_box_collision(pose, np.array(part.size_m) / 2, material)
        backwards = sapien.Pose(q=[0.0, 0.0, 0.0, 1.0])
        slide.set_joint_properties(
            "prismatic",
            [[0.0, model.travel_m]],
            sapien.Pose(model.T_cabinet_handle.astype(np.float32)) * backwards,
            backwards,
        )
        builder.set_initial_pose(sapien.Pose(T_base_cabinet.astype(np.float32)))
        self.articulation = builder.build(fix_root_link=True, build_mimic_joints=False)
        self.links: dict[str, Any] = {link.name: link for link in self.articulation.links}
        self._handle = self.links[model.handle_name]
        self._handle.mass = model.mass_kg
        self._handle.linear_damping = model.joint_damping_n_s_per_m / model.mass_kg
        # PhysX's own joint friction is a share of the load on the joint, 0.05 of it by default;
        # a damper that can pull with no more than the friction force is Coulomb's, in newtons.
        joint = self.articulation.active_joints[0]
        joint.set_friction(0.0)
        joint.set_drive_properties(0.0, STICTION_DAMPING_N_S_PER_M, model.joint_friction_n, "force")
        self.articulation.set_qpos([opened * model.travel_m])

    @property
    def velocity_m_per_s(self) -> Array:
        """The sliding part's velocity `(3,)`, base frame."""
        opening = -robot.pose_array(self._handle.entity_pose)[:3, 0]
        return opening * float(self.articulation.get_qvel()[0])


def _part(low: tuple[float, ...], high: tuple[float, ...]) -> Part:
    """Return the box between two corners."""
    corners = np.array([low, high], float)
    x, y, z = (corners[1] - corners[0]).tolist()
    return Part(
        kind="box", size_m=(x, y, z), T_object_part=pose_matrix(corners.mean(axis=0), np.eye(3))
    )


def _in_handle(model: Drawer, part: Part) -> Part:
    """Return a part of the closed drawer, given in the cabinet's frame, in the handle's."""
    return Part(
        kind=part.kind,
        size_m=part.size_m,
        T_object_part=inverse(model.T_cabinet_handle) @ part.T_object_part,
    )
