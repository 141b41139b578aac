"""What a twin consists of: cameras, table, objects, drawers, arm, light, start states.

All poses are in the robot base frame `base` (Franka link 0: x forward, z up), metres and radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import pose_from_quaternion

from rlco_calibration.lens import Lens

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Range = tuple[float, float]


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{owner}: {name} must be positive, got {value}")


def _not_negative(owner: str, **values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{owner}: {name} must not be negative, got {value}")


def _ordered(owner: str, **ranges: Range) -> None:
    for name, (low, high) in ranges.items():
        if low > high:
            raise ValueError(f"{owner}: {name} must be (low, high), got ({low}, {high})")


def _colour(owner: str, colour: Vector3) -> None:
    if not all(0 <= channel <= 1 for channel in colour):
        raise ValueError(f"{owner}: colour channels must be in [0, 1], got {colour}")


@dataclass(frozen=True, kw_only=True)
class CameraModel:
    """A fixed camera: intrinsics of the source frame and pose in the base frame.

    `distortion` is OpenCV's (k1, k2, p1, p2, k3). The pose maps the OpenCV optical frame (x right,
    y down, z forward) to the base frame. `noise_std` is per-pixel Gaussian noise in 8-bit counts.
    """

    name: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    position_m: Vector3
    quaternion_wxyz: Quaternion
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    noise_std: float = 0.0

    def __post_init__(self) -> None:
        """Check sizes, focal lengths and the pose."""
        owner = f"camera {self.name}"
        _positive(owner, width=self.width, height=self.height, fx=self.fx, fy=self.fy)
        _not_negative(owner, noise_std=self.noise_std)
        pose_from_quaternion(self.position_m, self.quaternion_wxyz)

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """The `(3, 3)` pinhole matrix, pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)

    @property
    def lens(self) -> Lens:
        """The lens of the source frame."""
        return Lens(
            size=(self.width, self.height),
            fx=self.fx,
            fy=self.fy,
            cx=self.cx,
            cy=self.cy,
            distortion=self.distortion,
        )

    @property
    def T_base_camera(self) -> NDArray[np.float64]:  # noqa: N802
        """The `(4, 4)` pose that maps optical-frame coordinates to the base frame."""
        return pose_from_quaternion(self.position_m, self.quaternion_wxyz)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table top: a horizontal rectangle at `height_m` in the base frame."""

    height_m: float = 0.0
    centre_xy_m: tuple[float, float] = (0.55, 0.0)
    size_xy_m: tuple[float, float] = (0.9, 1.2)
    friction: float = 0.5
    colour: Vector3 = (0.55, 0.45, 0.35)

    def __post_init__(self) -> None:
        """Check size, friction and colour."""
        _positive("table", width=self.size_xy_m[0], depth=self.size_xy_m[1])
        _not_negative("table", friction=self.friction)
        _colour("table", self.colour)


@dataclass(frozen=True, kw_only=True)
class ObjectModel:
    """A rigid object: a box, an open bowl (octagonal wall, flat floor) or a flat goal mark.

    `size_m`: box: edge lengths (x, y, z); bowl: (outer diameter, wall thickness, height);
    mark: (diameter, 0, 0), visible but without collision. `fixed` objects do not move.
    """

    name: str
    kind: Literal["box", "bowl", "mark"]
    size_m: Vector3
    mass_kg: float = 0.05
    friction: float = 0.5
    colour: Vector3 = (0.8, 0.1, 0.1)
    fixed: bool = False

    def __post_init__(self) -> None:
        """Check sizes, mass, friction and colour."""
        owner = f"object {self.name}"
        _positive(owner, size=self.size_m[0], mass_kg=self.mass_kg)
        if self.kind != "mark":
            _positive(owner, size_y=self.size_m[1], size_z=self.size_m[2])
        _not_negative(owner, friction=self.friction)
        _colour(owner, self.colour)


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """A cabinet with one drawer that slides along the cabinet's x axis (opens towards -x).

    The cabinet's frame lies at the centre of its floor, on the table; `position_m` and `yaw_rad`
    say where that is when a task does not place it. `size_m` is the closed cabinet's outer (x, y,
    z). `handle_size_m`: how far the handle stands out from the front, its width, and the thickness
    of its bar; the fingers need `handle_size_m[0] - handle_size_m[2]` behind the bar, 3 cm or more.
    `handle_height_m` is the height of the bar's centre over the cabinet's floor.

    Sliding takes `joint_friction_n` (Coulomb) plus `joint_damping_n_s_per_m` times the speed;
    `friction` is that of its surfaces. The cabinet itself does not move.
    """

    name: str
    position_m: Vector3
    yaw_rad: float
    size_m: Vector3
    handle_size_m: Vector3
    handle_height_m: float
    travel_m: float
    joint_friction_n: float = 0.5
    joint_damping_n_s_per_m: float = 5.0
    mass_kg: float = 0.3
    friction: float = 0.5
    colour: Vector3 = (0.7, 0.6, 0.45)
    handle_colour: Vector3 = (0.2, 0.2, 0.2)

    def __post_init__(self) -> None:
        """Check sizes, travel, joint properties and that the handle fits the front."""
        owner = f"drawer {self.name}"
        depth, width, thickness = self.handle_size_m
        _positive(owner, travel_m=self.travel_m, mass_kg=self.mass_kg)
        _positive(owner, size_x=self.size_m[0], size_y=self.size_m[1], size_z=self.size_m[2])
        _positive(owner, handle_depth=depth, handle_width=width, handle_thickness=thickness)
        _not_negative(owner, joint_friction_n=self.joint_friction_n, friction=self.friction)
        _not_negative(owner, joint_damping_n_s_per_m=self.joint_damping_n_s_per_m)
        _colour(owner, self.colour)
        _colour(owner, self.handle_colour)
        if self.travel_m >= self.size_m[0]:
            raise ValueError(
                f"{owner}: travel_m {self.travel_m} must be less than the cabinet's depth "
                f"{self.size_m[0]}, or the drawer falls out"
            )
        if depth <= thickness or width > self.size_m[1]:
            raise ValueError(
                f"{owner}: the handle {self.handle_size_m} must stand out further than its bar is "
                f"thick and be no wider than the front, {self.size_m[1]} m"
            )
        if not thickness / 2 < self.handle_height_m < self.size_m[2]:
            raise ValueError(
                f"{owner}: handle_height_m {self.handle_height_m} must be on the front, between "
                f"{thickness / 2} and {self.size_m[2]} m over the floor"
            )

    @property
    def handle_name(self) -> str:
        """What the sliding part is called where objects are listed by name."""
        return f"{self.name}_handle"

    @property
    def T_cabinet_handle(self) -> NDArray[np.float64]:  # noqa: N802
        """The `(4, 4)` pose of the handle bar's centre in the cabinet, drawer closed."""
        depth, _, thickness = self.handle_size_m
        pose = np.eye(4)
        pose[0, 3] = -self.size_m[0] / 2 - depth + thickness / 2
        pose[2, 3] = self.handle_height_m
        return pose


@dataclass(frozen=True, kw_only=True)
class ArmController:
    """How the arm follows a target pose.

    Joint targets come from differential inverse kinematics of the target pose; the joints are
    PD-driven with `stiffness` (N m / rad) and `damping` (N m s / rad). A target acts `delay_s`
    after it was commanded, and in each control period the arm is sent `gain` of the way from the
    target it follows to the one commanded (1 = all of it; lower = a lag, no steady-state error).
    """

    stiffness: float = 1000.0
    damping: float = 100.0
    force_limit: float = 100.0
    delay_s: float = 0.0
    gain: float = 1.0
    gripper_stiffness: float = 1000.0
    gripper_damping: float = 100.0
    gripper_force_n: float = 40.0

    def __post_init__(self) -> None:
        """Check signs and that the gain is in (0, 1]."""
        _positive("arm", stiffness=self.stiffness, damping=self.damping, force=self.force_limit)
        _positive("arm", gripper_stiffness=self.gripper_stiffness, grip=self.gripper_force_n)
        _not_negative("arm", delay_s=self.delay_s, gripper_damping=self.gripper_damping)
        if not 0 < self.gain <= 1:
            raise ValueError(f"arm: gain must be in (0, 1], got {self.gain}")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The box that the TCP may not leave, base frame, metres."""

    low_m: Vector3 = (0.1, -0.4, -0.05)
    high_m: Vector3 = (1.0, 0.4, 1.0)

    def __post_init__(self) -> None:
        """Check that the box has a positive extent along every axis."""
        if any(low >= high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise ValueError(f"workspace: low {self.low_m} must be below high {self.high_m}")


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """Ambient light, one directional light and the backdrop, linear RGB."""

    ambient: Vector3 = (0.45, 0.45, 0.45)
    direction: Vector3 = (0.3, 0.4, -1.0)
    directional: Vector3 = (0.6, 0.6, 0.6)
    backdrop_colour: Vector3 = (0.75, 0.77, 0.8)

    def __post_init__(self) -> None:
        """Check that the light points somewhere and the backdrop is a colour."""
        if math.hypot(*self.direction) == 0:
            raise ValueError("lighting: direction must not be zero")
        _colour("lighting", self.backdrop_colour)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one object or cabinet starts: uniform over a rectangle and a range of yaws."""

    name: str
    x_m: Range
    y_m: Range
    yaw_rad: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check that every range is (low, high)."""
        _ordered(f"placement {self.name}", x_m=self.x_m, y_m=self.y_m, yaw_rad=self.yaw_rad)


@dataclass(frozen=True, kw_only=True)
class InitialStates:
    """The initial-state distribution of one task.

    Placements are drawn again until every pair of centres is `min_distance_m` apart. The TCP starts
    over `tcp_x_m` x `tcp_y_m` x `tcp_z_m` (base frame), tool down, gripper open. `drawer_open` is
    the range of the opened fraction of the drawer's travel.
    """

    name: str
    instruction: str
    placements: tuple[Placement, ...] = ()
    min_distance_m: float = 0.0
    tcp_x_m: Range = (0.4, 0.4)
    tcp_y_m: Range = (0.0, 0.0)
    tcp_z_m: Range = (0.3, 0.3)
    drawer_open: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check that every range is (low, high)."""
        owner = f"task {self.name}"
        _ordered(owner, tcp_x_m=self.tcp_x_m, tcp_y_m=self.tcp_y_m, tcp_z_m=self.tcp_z_m)
        _ordered(owner, drawer_open=self.drawer_open)
        if not self.instruction.strip():
            raise ValueError(f"{owner}: instruction must not be empty")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where one field of the twin came from, and its standard uncertainty in the field's unit."""

    name: str
    """The dotted path of the field, as `diff` prints it, or of a group of fields."""
    source: str
    std: tuple[float, ...] = ()
