"""One simulated bench: a task's scene built from a `Twin` and nothing else."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.parts import Drawer, ObjectModel
from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract, ContractMismatchError
from rlco_datasets.frames import apply_delta, pose_matrix, state_vector
from rlco_datasets.images import policy_image, policy_intrinsics
from rlco_datasets.initial_condition import InitialCondition

from rlco_trainer.twin import control, robot
from rlco_trainer.twin.cabinet import cabinet_pose
from rlco_trainer.twin.physics import PhysicsWorld
from rlco_trainer.twin.render import Camera, Renderer, add_noise
from rlco_trainer.twin.tasks import Task, TaskStatus, task_named
from rlco_trainer.twin.tasks.geometry import object_yaw_rad

Array = NDArray[np.float64]
UInt8Image = NDArray[np.uint8]
ImageMode = Literal["policy", "source", "none"]

PHYSICS_RATE_HZ = 50.0
SUPERSAMPLING = 2


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a policy sees: policy images by camera, state `(10,) float32`, simulated time."""

    images: dict[str, UInt8Image]
    state: NDArray[np.float32]
    time_s: float


class TwinScene:
    """A bench with an arm, one task's objects and cameras, stepped one control period at a time.

    Call `reset` first. Two scenes of the same arguments, reset to the same condition and given the
    same actions, agree bit for bit, whatever either did before.
    """

    def __init__(
        self,
        twin: Twin,
        contract: Contract,
        task: str,
        *,
        images: ImageMode = "policy",
        seed: int = 0,
        renderer: SceneRenderer | None = None,
    ) -> None:
        """Build the scene.

        Args:
            twin: the bench. Hidden twins are fine: whoever loaded one may simulate it.
            contract: what actions and observations mean; must be the twin's.
            task: the name of a task of the twin.
            images: "policy" renders the cropped policy view alone; "source" renders full frames
                and passes them through `policy_image`, as a real camera would be; "none" renders
                nothing.
            seed: seeds the sensor noise, together with the initial condition.
            renderer: one to share with other scenes of the same twin and task.

        Raises:
            ContractMismatchError: if the twin was made for another contract.
            TwinError: if the twin lacks the task, an object or a camera.
        """
        if twin.contract_id != contract.id:
            raise ContractMismatchError(
                f"twin {twin.name!r} was made for contract {twin.contract_id}, not for "
                f"{contract.name!r} ({contract.id}). Use the twin of this contract, or measure one."
            )
        self.twin, self.contract, self.seed = twin, contract, seed
        self.task = task_named(task)
        self.initial_states = twin.task(task)
        self._objects, self._drawers = task_models(twin, self.task)
        self._substeps = max(1, round(contract.period_s * PHYSICS_RATE_HZ))
        self._substep_s = contract.period_s / self._substeps
        self._world = PhysicsWorld(twin, self._objects, self._drawers, self._substep_s)
        self._kinematics = robot.Kinematics()
        self._follower = control.TargetFollower(twin.arm, self._substep_s)
        if renderer is None and images != "none":
            renderer = SceneRenderer(twin, contract, task, images)
        self._renderer = renderer
        self.initial: InitialCondition | None = None
        self.T_base_target: Array = np.eye(4)

    def reset(self, initial: InitialCondition) -> None:
        """Put everything where the initial condition says: tool down, gripper open, at rest.

        Raises:
            ValueError: if the condition is of another task, or misses or adds an object. Cabinets
                that it does not place stand where the twin says.
        """
        given = {model.name: cabinet_pose(model) for model in self._drawers}
        given |= {item.name: item.T_base_object for item in initial.objects}
        expected = {model.name for model in self._objects}
        expected |= {model.name for model in self._drawers}
        if initial.task != self.task.name or set(given) != expected:
            raise ValueError(
                f"initial condition {initial.name!r} is of task {initial.task!r} with objects "
                f"{sorted(given)}; this scene is {self.task.name!r} with {sorted(expected)}"
            )
        start = pose_matrix(initial.tcp_position_m, robot.TOOL_DOWN)
        joints = self._kinematics.inverse(start, robot.HOME_RAD, iterations=50)
        reached = self._kinematics.forward(joints)
        if np.linalg.norm(reached[:3, 3] - start[:3, 3]) > 0.002:
            raise ValueError(
                f"initial condition {initial.name!r}: the arm cannot reach the start "
                f"{initial.tcp_position_m} with the tool down"
            )
        self.initial, self._joint_target = initial, joints
        width_m = self.contract.gripper_max_width_m
        self._world.rebuild(joints, width_m, given, initial.drawer_open)
        self.T_base_target = control.clip_to_workspace(self.T_base_tcp, self.twin.workspace)
        self._follower.reset(self.T_base_target)
        self._steps = 0
        self._furthest = -1
        self._solved_steps = 0
        entropy = zlib.crc32(repr(initial).encode())
        self._rng = np.random.default_rng([self.seed, entropy])

    def step(self, action: NDArray[np.floating]) -> None:
        """Apply a contract action `(7,)` for one control period.

        Steps longer than the contract allows are shortened.

        Raises:
            ValueError: if the action is not 7 finite numbers.
        """
        clipped = control.clip_action(action, self.contract)
        self.step_to(apply_delta(self.T_base_target, clipped[:6]), clipped[6])

    def step_to(self, T_base_target: Array, gripper: float) -> None:
        """Command an absolute TCP target and gripper opening in [0, 1] for one control period.

        The target is moved into the twin's workspace.

        Raises:
            ValueError: if the target or the opening is not finite.
        """
        if self.initial is None:
            raise RuntimeError("call reset() with an initial condition before stepping")
        target = np.asarray(T_base_target, float)
        if target.shape != (4, 4) or not (np.isfinite(target).all() and np.isfinite(gripper)):
            raise ValueError(f"target must be a finite (4, 4) pose, got {target} and {gripper}")
        self.T_base_target = control.clip_to_workspace(target, self.twin.workspace)
        self._follower.command(self.T_base_target, float(gripper))
        for _ in range(self._substeps):
            changed = self._follower.tick()
            if changed is not None:
                followed, opening = changed
                self._joint_target = self._kinematics.inverse(followed, self._joint_target)
                self._world.drive_arm(self._joint_target)
                self._world.drive_gripper(opening, self.contract.gripper_max_width_m)
            self._world.step()
        self._steps += 1
        self._furthest = max(self._furthest, self.task.reached(self))
        self._solved_steps = self._solved_steps + 1 if self.task.solved(self) else 0
        if self.status().success:
            self._furthest = len(self.task.milestones) - 1

    def observe(self) -> Observation:
        """Return what the policy sees now; renders unless the scene has no images."""
        images = {}
        if self._renderer is not None:
            self._pose_renderer()
            for name in self.contract.camera_names:
                images[name] = self._renderer.policy_image(name, self._rng)
        return Observation(images=images, state=self.state, time_s=self.time_s)

    def source_frame(self, camera: str) -> UInt8Image:
        """Return a full source-resolution RGB frame `(H, W, 3)` of a camera of the twin."""
        if self._renderer is None:
            raise RuntimeError('this scene was built with images="none" and has no cameras')
        self._pose_renderer()
        return self._renderer.source_frame(camera, self._rng)

    def source_entities(self, camera: str) -> dict[str, NDArray[np.bool_]]:
        """Return masks `(H, W)` of a camera's full frame: where each link and object is seen."""
        if self._renderer is None:
            raise RuntimeError('this scene was built with images="none" and has no cameras')
        self._pose_renderer()
        return self._renderer.source_entities(camera)

    def status(self) -> TaskStatus:
        """Return how far the episode has come."""
        held_s = self._solved_steps * self.contract.period_s
        return TaskStatus(
            success=self._solved_steps > 0 and held_s >= self.task.hold_s - 1e-9,
            milestone="start" if self._furthest < 0 else self.task.milestones[self._furthest],
            milestones=self.task.milestones,
            held_s=held_s,
        )

    def reward(self) -> float:
        """Return the task's shaped reward of the state now, in [0, 1]."""
        return self.task.reward(self)

    def privileged(self) -> NDArray[np.float32]:
        """Return `(P,)` what a critic may know: the same layout and length for every task.

        State (10); vector to the commanded target (3); for the point the hand has to go to and the
        one the object has to go to: position (3) and vector from the TCP (3); vector between the
        two (3); the moved object's velocity (3), angular velocity (3) and yaw as sine and cosine of
        four times the angle (2); finger forces on it, squashed (2); furthest milestone (1) and
        held time (1) as fractions.
        """
        hand, goal = self.task.points(self)
        tcp = self.T_base_tcp[:3, 3]
        moved = self.task.moved
        linear, angular = self._world.velocity(moved)
        yaw = 4 * object_yaw_rad(self.object_pose(moved))
        parts: list[NDArray[np.floating] | list[float]] = [
            self.state,
            self.T_base_target[:3, 3] - tcp,
            hand,
            hand - tcp,
            goal,
            goal - tcp,
            goal - hand,
            linear,
            angular,
            [np.sin(yaw), np.cos(yaw)],
            np.tanh(np.array(self.touch_force_n(moved)) / 10.0),
            [(self._furthest + 1) / len(self.task.milestones)],
            [min(self.status().held_s / max(self.task.hold_s, 1e-9), 1.0)],
        ]
        return np.concatenate(parts).astype(np.float32)

    @property
    def state(self) -> NDArray[np.float32]:
        """The contract's state vector `(10,)`."""
        return state_vector(self.T_base_tcp, self.gripper_width_m)

    @property
    def T_base_tcp(self) -> Array:  # noqa: N802
        """The measured TCP pose."""
        return self._world.T_base_tcp

    @property
    def gripper_width_m(self) -> float:
        """The measured opening between the fingers."""
        return self._world.gripper_width_m

    @property
    def joint_positions_rad(self) -> Array:
        """The measured arm joint positions `(7,)`."""
        return self._world.joints_rad

    @property
    def time_s(self) -> float:
        """Simulated time since the reset."""
        return self._steps * self.contract.period_s

    def object_poses(self) -> dict[str, Array]:
        """Return `T_base_object` of every object, cabinet and handle by name."""
        names = [model.name for model in self._objects]
        for drawer in self._drawers:
            names += [drawer.name, drawer.handle_name]
        return {name: self._world.pose(name) for name in names}

    def object_pose(self, name: str) -> Array:
        """Return `T_base_object` of one object."""
        return self._world.pose(name)

    def object_speed(self, name: str) -> tuple[float, float]:
        """Return the linear (m/s) and angular (rad/s) speed of an object."""
        linear, angular = self._world.velocity(name)
        return float(np.linalg.norm(linear)), float(np.linalg.norm(angular))

    def touch_force_n(self, name: str) -> tuple[float, float]:
        """Return the force between an object and the left and the right finger, N."""
        return self._world.touch_force_n(name)

    def _pose_renderer(self) -> None:
        assert self._renderer is not None
        self._renderer.pose(self._world.render_poses())


class SceneRenderer:
    """The cameras of a contract over one task's bench; may serve many scenes in turn."""

    def __init__(self, twin: Twin, contract: Contract, task: str, images: ImageMode) -> None:
        """Build the render scene; see `TwinScene` for `images`."""
        self._contract, self._images, self._twin = contract, images, twin
        self._renderer = Renderer(twin, *task_models(twin, task_named(task)))
        self._source: dict[str, Camera] = {}
        self._policy: dict[str, Camera] = {}
        for spec in contract.cameras:
            model = twin.camera(spec.name)
            if (model.width, model.height) != (spec.source_width, spec.source_height):
                raise ContractMismatchError(
                    f"camera {spec.name!r}: twin {twin.name!r} has {model.width}x{model.height}, "
                    f"the contract {spec.source_width}x{spec.source_height}"
                )
            if images == "policy":
                size = (spec.width * SUPERSAMPLING, spec.height * SUPERSAMPLING)
                intrinsics = policy_intrinsics(model.intrinsics, spec, SUPERSAMPLING)
                self._policy[spec.name] = self._renderer.camera(model, size, intrinsics)

    def pose(self, poses: dict[str, object]) -> None:
        """Move links and objects to where a scene has them."""
        self._renderer.pose(poses)

    def policy_image(self, name: str, rng: np.random.Generator) -> UInt8Image:
        """Return the policy's image of a camera, `(H, W, 3)`, sensor noise included."""
        spec = self._contract.camera(name)
        if self._images == "source":
            return policy_image(self.source_frame(name, rng), spec)
        frame = policy_image(self._policy[name].picture(), spec)
        averaged = min(spec.width / spec.crop[2], 1.0)
        return add_noise(frame, self._twin.camera(name).noise_std * averaged, rng)

    def source_frame(self, name: str, rng: np.random.Generator) -> UInt8Image:
        """Return a full frame of a camera of the twin, sensor noise included."""
        return add_noise(self._full(name).picture(), self._twin.camera(name).noise_std, rng)

    def source_entities(self, name: str) -> dict[str, NDArray[np.bool_]]:
        """Return where each link and object is seen in a full frame, `(H, W)` each."""
        seen = self._full(name).entities()
        return {entity: seen == number for entity, number in self._renderer.ids.items()}

    def _full(self, name: str) -> Camera:
        model = self._twin.camera(name)
        if name not in self._source:
            size = (model.width, model.height)
            self._source[name] = self._renderer.camera(model, size, model.intrinsics)
        return self._source[name]


def task_models(twin: Twin, task: Task) -> tuple[tuple[ObjectModel, ...], tuple[Drawer, ...]]:
    """Return the twin's models of what is on the table in a task.

    That is what the task needs, and whatever else the twin places for it: with everything placed in
    every task, only the instruction tells a policy what to do.

    Raises:
        TwinError: if something that the task needs is missing.
    """
    placed = [place.name for place in twin.task(task.name).placements]
    drawers = [drawer.name for drawer in twin.drawers if drawer.name in placed]
    objects = [model.name for model in twin.objects if model.name in placed]
    return (
        tuple(twin.object_model(name) for name in dict.fromkeys((*task.objects, *objects))),
        tuple(twin.drawer(name) for name in dict.fromkeys((*task.drawers, *drawers))),
    )
