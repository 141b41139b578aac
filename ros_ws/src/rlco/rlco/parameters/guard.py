"""The parameters of the guard: what it lets through to the arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlco_calibration.parts import Workspace

from rlco.parameters.base import ParameterError, Parameters, parameter
from rlco.parameters.bench import BenchParameters

SOURCES = ("none", "teleop", "policy")
ROBOTS = ("", "fr3", "panda")


@dataclass(frozen=True, kw_only=True)
class GuardLimits(Parameters):
    """What a set-point must keep to. Poses are in the base frame, of the TCP.

    A set-point beyond workspace, step or speed is replaced by the nearest one that keeps to them;
    where that is further than `max_deviation_*` from what was asked, the arm is stopped.
    """

    workspace_low_m: tuple[float, float, float] = parameter(
        Workspace().low_m, "Lowest TCP target (x, y, z), base frame."
    )
    workspace_high_m: tuple[float, float, float] = parameter(
        Workspace().high_m, "Highest TCP target (x, y, z), base frame."
    )
    table_normal: tuple[float, float, float] = parameter(
        (0.0, 0.0, 1.0), "Unit normal of the table plane, base frame, away from the table."
    )
    table_height_m: float = parameter(
        -0.05, "Height (m) of the table along its normal, from the base's origin.", low=-2, high=2
    )
    table_clearance_m: float = parameter(
        0.0, "How far (m) above the table the TCP must stay.", low=0, high=1
    )
    max_step_m: float = parameter(
        0.03, "Largest translation (m) between two set-points.", low=1e-4, high=0.2
    )
    max_step_rad: float = parameter(
        0.1, "Largest rotation (rad) between two set-points.", low=1e-4, high=1.0
    )
    max_speed_m_s: float = parameter(
        0.5, "Largest speed (m/s) of the set-points, by their stamps.", low=1e-3, high=3.0
    )
    max_speed_rad_s: float = parameter(
        1.5, "Largest angular speed (rad/s) of the set-points, by their stamps.", low=1e-3, high=2.5
    )
    max_deviation_m: float = parameter(
        0.05,
        "Stop where a set-point would have to be moved further than this (m); 0: stop at any "
        "excess.",
        low=0,
        high=0.5,
    )
    max_deviation_rad: float = parameter(
        0.2,
        "Stop where a set-point would have to be turned further than this (rad).",
        low=0,
        high=2,
    )
    max_command_age_s: float = parameter(
        0.15,
        "Stop when a command is older than this (s) against the newest state, or when the source "
        "falls silent for so long (wall clock).",
        low=0.02,
        high=10,
    )
    max_state_age_s: float = parameter(
        0.2,
        "Stop when the newest state is older than this (s, wall clock), or was not heard for so "
        "long.",
        low=0.02,
        high=10,
    )
    max_camera_age_s: float = parameter(
        0.15,
        "While a policy drives, stop when a camera was not heard for this long (s, wall clock).",
        low=0.02,
        high=10,
    )
    robot: str = parameter(
        "", "Whose joint limits to keep to: fr3, panda, or empty: they are not checked."
    )
    joint_margin_rad: float = parameter(
        0.05, "Stop when a joint is closer (rad) to its limit than this.", low=0, high=0.5
    )

    def __post_init__(self) -> None:
        """Check ranges, the box, the plane and the robot's name."""
        super().__post_init__()
        low, high = self.workspace_low_m, self.workspace_high_m
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise ParameterError(f"workspace: low {low} must be below high {high}")
        length = math.hypot(*self.table_normal)
        if abs(length - 1.0) > 1e-3:
            raise ParameterError(f"table_normal {self.table_normal} has length {length:.4f}, not 1")
        if self.robot not in ROBOTS:
            raise ParameterError(f"robot must be one of {ROBOTS}, got {self.robot!r}")


@dataclass(frozen=True, kw_only=True)
class GuardParameters(GuardLimits, BenchParameters):
    """The guard node."""

    initial_source: str = parameter("none", "Who drives from the start: none, teleop or policy.")
    listeners: int = parameter(
        1,
        "Refuse to hand over while fewer nodes than this listen to target_pose and gripper/target "
        "(the arm; the recorder too where a session is recorded).",
        low=0,
        high=100,
    )
    arm_status: bool = parameter(
        False,
        "True where an arm driver reports on arm/status: stop when it falls silent or reports an "
        "error, a reflex or the user stop.",
    )

    def __post_init__(self) -> None:
        """Check ranges and the source."""
        super().__post_init__()
        if self.initial_source not in SOURCES:
            raise ParameterError(
                f"initial_source must be one of {SOURCES}, got {self.initial_source!r}"
            )
