"""The Franka Panda of ManiSkill's assets: a physics builder, its kinematics, its light visuals."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sapien
import sapien.physx as physx
from mani_skill import PACKAGE_ASSET_DIR
from numpy.typing import NDArray
from rlco_datasets.frames import rotation_vector
from sapien.wrapper.urdf_loader import URDFLoader

Array = NDArray[np.float64]

ARM_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
FINGER_LINKS = ("panda_leftfinger", "panda_rightfinger")
TCP_LINK = "panda_hand_tcp"
FINGER_FRICTION = 2.0
"""ManiSkill's value for the Panda's rubber pads; PhysX averages it with the object's friction."""

HOME_RAD = np.array([0.0, np.pi / 8, 0.0, -5 * np.pi / 8, 0.0, 3 * np.pi / 4, np.pi / 4])
"""ManiSkill's rest pose of the Panda: the tool points straight down."""

TOOL_DOWN = np.diag([1.0, -1.0, -1.0])
"""Rotation of the TCP in the base frame when the tool points down: x forward, z down."""

_DAMPING_MATRIX = 0.02**2 * np.eye(6)
NULL_SPACE_GAIN = 0.1
CONVERGED = 1e-5
"""Largest component of the error, m and rad; the model's poses are single precision."""
_SELF_COLLISION_BIT = 1 << 30
_MESHES = f"{PACKAGE_ASSET_DIR}/robots/panda/franka_description/meshes/collision"


def link_mesh(link_name: str) -> str | None:
    """Return the path of the light mesh (32 to 300 triangles) that stands for a link, or None."""
    if link_name in FINGER_LINKS:
        return f"{_MESHES}/finger.stl"
    name = link_name.removeprefix("panda_")
    drawn = name == "hand" or (name.startswith("link") and name != "link8")
    return f"{_MESHES}/{name}.stl" if drawn else None


def load_builder() -> Any:
    """Return an articulation builder of the Panda: collision shapes, no visuals, fixed base.

    Building from it takes under 2 ms, which is why a scene can afford a fresh physics world at
    every reset (see `physics`).
    """
    loader = URDFLoader()
    loader.fix_root_link = True
    loader.scene = sapien.Scene([physx.PhysxCpuSystem()])
    articulations, _, _ = loader.parse(f"{PACKAGE_ASSET_DIR}/robots/panda/panda_v2.urdf")
    builder = articulations[0]
    rubber = physx.PhysxMaterial(FINGER_FRICTION, FINGER_FRICTION, 0.0)
    for link in builder.link_builders:
        link.visual_records = []
        link.collision_groups = [1, 1, _SELF_COLLISION_BIT, 0]
        if link.name in FINGER_LINKS:
            for record in link.collision_records:
                record.material = rubber
                record.patch_radius = record.min_patch_radius = 0.1
    return builder


@functools.cache
def builder() -> Any:
    """Return this process's one articulation builder."""
    return load_builder()


class Kinematics:
    """Forward and inverse kinematics of the arm, by pinocchio's model of the same URDF.

    Differential inverse kinematics by damped least squares (Nakamura and Hanafusa 1986; Wampler
    1986). The first step also pulls the redundant degree of freedom towards the home pose.
    """

    def __init__(self) -> None:
        """Load the model; about 10 ms."""
        self._scene = sapien.Scene([physx.PhysxCpuSystem()])
        articulation = builder().set_scene(self._scene).build(build_mimic_joints=False)
        self._model = articulation.create_pinocchio_model()
        self._tcp = articulation.find_link_by_name(TCP_LINK).index
        self._full = np.zeros(len(articulation.active_joints))
        limits = np.asarray(articulation.get_qlimits(), float)[:7]
        self.low_rad, self.high_rad = limits[:, 0], limits[:, 1]

    def forward(self, joints_rad: Array) -> Array:
        """Return `T_base_tcp` `(4, 4)` of joint positions `(7,)`, rad."""
        self._full[:7] = joints_rad
        self._model.compute_forward_kinematics(self._full)
        return pose_array(self._model.get_link_pose(self._tcp))

    def inverse(self, T_base_target: Array, seed_rad: Array, iterations: int = 5) -> Array:
        """Return joint positions `(7,)` that bring the TCP to, or towards, a target pose.

        A target out of reach gives the nearest pose that damped steps arrive at.
        """
        joints = seed_rad
        for iteration in range(iterations):
            current = self.forward(joints)
            rotation_t = current[:3, :3].T
            error = np.empty(6)
            error[:3] = rotation_t @ (T_base_target[:3, 3] - current[:3, 3])
            error[3:] = rotation_vector(rotation_t @ T_base_target[:3, :3])
            if iteration and np.abs(error).max() < CONVERGED:
                break
            jacobian = self._model.compute_single_link_local_jacobian(self._full, self._tcp)[:, :7]
            if iteration == 0:
                rest = NULL_SPACE_GAIN * (HOME_RAD - joints)
                error -= jacobian @ rest
                joints = joints + rest
            damped = jacobian @ jacobian.T + _DAMPING_MATRIX
            step = jacobian.T @ np.linalg.solve(damped, error)
            joints = np.minimum(np.maximum(joints + step, self.low_rad), self.high_rad)
        return joints


def pose_array(pose: Any) -> Array:
    """Return a SAPIEN pose as a `(4, 4)` float64 matrix (of single-precision numbers)."""
    return np.asarray(pose.to_transformation_matrix(), float)
