"""The physics world of one scene, built afresh at every reset.

PhysX keeps contact and solver caches, so a world that is reset in place drifts by millimetres from
a fresh one. Rendering needs meshes and textures that are slow to load, physics does not: with the
two in separate SAPIEN scenes, a new physics world costs about 3 ms, and the same start and the same
actions give bit-identical trajectories whatever happened before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sapien
import sapien.physx as physx
from numpy.typing import NDArray
from rlco_calibration.parts import ArmController, Drawer, ObjectModel, Table
from rlco_calibration.twin import Twin

from rlco_trainer.twin import robot, shapes
from rlco_trainer.twin.cabinet import CabinetBody

Array = NDArray[np.float64]

SOLVER_ITERATIONS = 15
TABLE_THICKNESS_M = 0.04
FINGER_ARMATURE_KG = 0.2
"""Reflected inertia of the hand's drive; without it a grasped cube sinks 6 mm into each pad."""
CLOSING_OVERSHOOT_M = 0.01
"""How far below zero a closed finger's target lies, so that it presses on thin objects too."""


def sapien_pose(pose: Array) -> Any:
    """Return a `(4, 4)` pose as SAPIEN's."""
    return sapien.Pose(pose.astype(np.float32))


class PhysicsWorld:
    """The arm, the table and the objects of one task, in PhysX on the CPU."""

    def __init__(
        self,
        twin: Twin,
        objects: tuple[ObjectModel, ...],
        drawers: tuple[Drawer, ...],
        substep_s: float,
    ) -> None:
        """Take what stays the same over resets; `rebuild` makes the world."""
        self._twin = twin
        self._objects = objects
        self._drawers = drawers
        self._substep_s = substep_s
        self._parts = {
            model.name: [
                (part, sapien_pose(part.T_object_part) * shapes.upright(part))
                for part in shapes.parts(model)
                if part.solid
            ]
            for model in objects
        }
        self.bodies: dict[str, Any] = {}
        self._entities: dict[str, Any] = {}
        self.links: dict[str, Any] = {}
        self._cabinets: dict[str, CabinetBody] = {}
        self._touches: dict[str, tuple[float, float]] | None = None

    def rebuild(
        self, joints_rad: Array, width_m: float, poses: dict[str, Array], drawer_open: float = 0.0
    ) -> None:
        """Make a fresh world, at rest.

        Args:
            joints_rad: `(7,)` arm joint positions.
            width_m: opening between the fingers.
            poses: `T_base_object` by the name of an object or cabinet.
            drawer_open: the opened fraction of every drawer's travel.
        """
        physx.set_shape_config(contact_offset=0.02, rest_offset=0.0)
        physx.set_body_config(
            solver_position_iterations=SOLVER_ITERATIONS, solver_velocity_iterations=1
        )
        physx.set_scene_config(cpu_workers=0)
        self._scene = sapien.Scene([physx.PhysxCpuSystem()])
        self._scene.set_timestep(self._substep_s)
        self._add_table(self._twin.table)
        self.bodies = {}
        self._entities = {}
        self._names: dict[Any, str] = {}
        self._touches = None
        self._cabinets = {}
        for model in self._objects:
            self._add_object(model, poses[model.name])
        for drawer in self._drawers:
            cabinet = CabinetBody(self._scene, drawer, poses[drawer.name], drawer_open)
            self._cabinets[drawer.handle_name] = cabinet
            self._entities |= {name: link.entity for name, link in cabinet.links.items()}
            self._names |= {link: name for name, link in cabinet.links.items()}
        self._add_arm(self._twin.arm, joints_rad, width_m)

    def step(self) -> None:
        """Go on by one substep."""
        self._touches = None
        self._scene.step()

    def drive_arm(self, joints_rad: Array) -> None:
        """Set the arm's joint targets `(7,)`."""
        for joint, target in zip(self._arm, joints_rad, strict=True):
            joint.set_drive_target(float(target))

    def drive_gripper(self, opening: float, max_width_m: float) -> None:
        """Set the fingers' target: `opening` in [0, 1] of the largest width."""
        target = opening * max_width_m / 2 - (1.0 - opening) * CLOSING_OVERSHOOT_M
        for joint in self._fingers:
            joint.set_drive_target(target)

    @property
    def joints_rad(self) -> Array:
        """The measured arm joint positions `(7,)`."""
        return np.asarray(self._articulation.get_qpos()[:7], float)

    @property
    def gripper_width_m(self) -> float:
        """The measured opening between the fingers."""
        return float(self._articulation.get_qpos()[7:9].sum())

    @property
    def T_base_tcp(self) -> Array:  # noqa: N802
        """The measured TCP pose."""
        return robot.pose_array(self.links[robot.TCP_LINK].entity_pose)

    def pose(self, name: str) -> Array:
        """Return `T_base_object`."""
        return robot.pose_array(self._entities[name].pose)

    def velocity(self, name: str) -> tuple[Array, Array]:
        """Return the linear (m/s) and angular (rad/s) velocity of an object, base frame."""
        if name in self._cabinets:
            return self._cabinets[name].velocity_m_per_s, np.zeros(3)
        body = self.bodies.get(name)
        if body is None or not hasattr(body, "linear_velocity"):
            return np.zeros(3), np.zeros(3)
        return np.asarray(body.linear_velocity, float), np.asarray(body.angular_velocity, float)

    def touch_force_n(self, name: str) -> tuple[float, float]:
        """Return the force between an object and the left and the right finger, N."""
        if self._touches is None:
            self._touches = self._read_touches()
        return self._touches.get(name, (0.0, 0.0))

    def render_poses(self) -> dict[str, Any]:
        """Return the SAPIEN pose of every link and object by name."""
        poses = {name: link.entity_pose for name, link in self.links.items()}
        return poses | {name: entity.pose for name, entity in self._entities.items()}

    def _read_touches(self) -> dict[str, tuple[float, float]]:
        """Return the finger forces by the name of the object touched."""
        forces: dict[str, tuple[float, float]] = {}
        for contact in self._scene.get_contacts():
            for one, other in (contact.bodies, contact.bodies[::-1]):
                side = self._finger_side.get(one)
                if side is not None and other in self._names:
                    impulse = np.sum([point.impulse for point in contact.points], axis=0)
                    pair = list(forces.get(self._names[other], (0.0, 0.0)))
                    pair[side] += math.hypot(*impulse) / self._substep_s
                    forces[self._names[other]] = (pair[0], pair[1])
        return forces

    def _add_table(self, table: Table) -> None:
        material = physx.PhysxMaterial(table.friction, table.friction, 0.0)
        half = (table.size_xy_m[0] / 2, table.size_xy_m[1] / 2, TABLE_THICKNESS_M / 2)
        body = physx.PhysxRigidStaticComponent()
        body.attach(physx.PhysxCollisionShapeBox(half, material))
        self._add("table", body, sapien.Pose([*table.centre_xy_m, table.height_m - half[2]]))

    def _add_object(self, model: ObjectModel, pose: Array) -> None:
        body: Any = None
        if self._parts[model.name]:
            body = (
                physx.PhysxRigidStaticComponent()
                if model.fixed
                else physx.PhysxRigidDynamicComponent()
            )
            material = physx.PhysxMaterial(model.friction, model.friction, 0.0)
            for part, local_pose in self._parts[model.name]:
                shape = _collision_shape(part, material)
                shape.local_pose = local_pose
                body.attach(shape)
            if not model.fixed:
                body.mass = model.mass_kg
        self._entities[model.name] = self._add(model.name, body, sapien_pose(pose))
        if body is not None:
            self.bodies[model.name] = body
            self._names[body] = model.name

    def _add(self, name: str, body: Any, pose: Any) -> Any:
        entity = sapien.Entity()
        entity.name = name
        if body is not None:
            entity.add_component(body)
        entity.pose = pose
        self._scene.add_entity(entity)
        return entity

    def _add_arm(self, arm: ArmController, joints_rad: Array, width_m: float) -> None:
        builder = robot.builder().set_scene(self._scene)
        self._articulation = builder.build(build_mimic_joints=False)
        self.links = {link.name: link for link in self._articulation.links}
        self._finger_side = {self.links[name]: i for i, name in enumerate(robot.FINGER_LINKS)}
        for link in self._articulation.links:
            link.disable_gravity = True
        joints = {joint.name: joint for joint in self._articulation.active_joints}
        self._arm = [joints[name] for name in robot.ARM_JOINTS]
        self._fingers = [joints[name] for name in robot.FINGER_JOINTS]
        for joint in self._arm:
            joint.set_drive_properties(arm.stiffness, arm.damping, arm.force_limit, "force")
        for joint in self._fingers:
            joint.set_armature(np.array([FINGER_ARMATURE_KG], np.float32))
            joint.set_drive_properties(
                arm.gripper_stiffness, arm.gripper_damping, arm.gripper_force_n, "force"
            )
        self._articulation.set_qpos([*joints_rad, width_m / 2, width_m / 2])
        self.drive_arm(joints_rad)
        for joint in self._fingers:
            joint.set_drive_target(width_m / 2)


def _collision_shape(part: shapes.Part, material: Any) -> Any:
    if part.kind == "disc":
        return physx.PhysxCollisionShapeCylinder(part.size_m[0] / 2, part.size_m[2] / 2, material)
    return physx.PhysxCollisionShapeBox(np.array(part.size_m) / 2, material)
