"""The parameters of the gripper driver."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import ParameterError, Parameters, parameter

DRIVERS = ("franka_ros2", "fci")


@dataclass(frozen=True, kw_only=True)
class GripperSettings(Parameters):
    """Which gripper, and how width targets become actions."""

    driver: str = parameter(
        "fci",
        "franka_ros2: the actions of its franka_gripper node; fci: the hand itself, through "
        "franky-control.",
    )
    address: str = parameter("", "Address of the robot, for fci.")
    connect_timeout_s: float = parameter(
        20.0, "Give up connecting after this long (s).", low=1, high=600
    )
    home: bool = parameter(
        False, "Open and close once at the start, so that widths are right; keep clear of it."
    )
    hysteresis_m: float = parameter(
        0.005,
        "A target that differs less (m) from the last one acted on is not acted on.",
        low=0.0005,
        high=0.08,
    )
    speed_m_s: float = parameter(0.1, "Speed (m/s) of the fingers.", low=0.005, high=0.2)
    force_n: float = parameter(20.0, "Force (N) of a grasp.", low=1, high=70)
    max_width_m: float = parameter(
        0.08, "Opening (m) of the hand; a target is at most this.", low=0.01, high=0.2
    )
    state_rate_hz: float = parameter(
        30.0, "fci: how often the opening is published.", low=1, high=200
    )

    def __post_init__(self) -> None:
        """Check ranges and the driver."""
        super().__post_init__()
        if self.driver not in DRIVERS:
            raise ParameterError(f"gripper driver must be one of {DRIVERS}, got {self.driver!r}")
        if self.driver == "fci":
            self.require("address")
