"""The parameters of the arm driver."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import ParameterError, Parameters, parameter

DRIVERS = ("crisp", "fci")
MOTIONS = ("cartesian", "impedance")


@dataclass(frozen=True, kw_only=True)
class ArmSettings(Parameters):
    """Which arm, and how it is driven.

    The collision thresholds are those of franka_ros2's examples: contact above the lower ones is
    reported, above the upper ones the robot stops by itself (a reflex).
    """

    driver: str = parameter(
        "fci",
        "crisp: crisp_controllers follows the set-points, this node watches the robot through "
        "franka_ros2; fci: this node drives the robot itself, through franky-control.",
    )
    address: str = parameter("", "Address of the robot, for fci.")
    realtime: bool = parameter(
        False, "fci: refuse to start without a real-time kernel; false: go on without."
    )
    connect_timeout_s: float = parameter(
        20.0,
        "Give up connecting after this long (s): another client may hold the robot.",
        low=1,
        high=600,
    )
    dynamics_factor: float = parameter(
        0.1,
        "fci, cartesian: share of the robot's speed, acceleration and jerk limits used.",
        low=0.01,
        high=1,
    )
    motion: str = parameter(
        "impedance",
        "fci: impedance: torques of a spring between TCP and set-point, soft in contact and some "
        "way behind it; cartesian: planned, stiff motions within dynamics_factor.",
    )
    stiffness_n_m: float = parameter(
        800.0, "fci, impedance: stiffness (N/m) of the TCP's position.", low=10, high=3000
    )
    stiffness_nm_rad: float = parameter(
        40.0, "fci, impedance: stiffness (Nm/rad) of the TCP's rotation.", low=1, high=300
    )
    stop_factor: float = parameter(
        0.3, "fci, cartesian: the same share for a stop.", low=0.01, high=1
    )
    state_rate_hz: float = parameter(
        100.0, "fci: how often the state is published.", low=10, high=1000
    )
    command_timeout_s: float = parameter(
        0.25,
        "fci: stop when no set-point came for this long (s). The guard is to notice before.",
        low=0.02,
        high=10,
    )
    guard_timeout_s: float = parameter(
        0.15, "fci: stop when guard/state was not heard for this long (s).", low=0.06, high=10
    )
    lower_torque_nm: tuple[float, ...] = parameter(
        (25.0, 25.0, 22.0, 20.0, 19.0, 17.0, 14.0), "Torque (Nm, 7 joints) that counts as contact."
    )
    upper_torque_nm: tuple[float, ...] = parameter(
        (35.0, 35.0, 32.0, 30.0, 29.0, 27.0, 24.0), "Torque (Nm, 7 joints) that stops the robot."
    )
    lower_force: tuple[float, ...] = parameter(
        (30.0, 30.0, 30.0, 25.0, 25.0, 25.0), "Force (N, 3) and torque (Nm, 3) that is contact."
    )
    upper_force: tuple[float, ...] = parameter(
        (40.0, 40.0, 40.0, 35.0, 35.0, 35.0), "Force (N, 3) and torque (Nm, 3) that stops it."
    )

    def __post_init__(self) -> None:
        """Check ranges, the driver, and that upper thresholds are not below lower ones."""
        super().__post_init__()
        if self.driver not in DRIVERS:
            raise ParameterError(f"arm driver must be one of {DRIVERS}, got {self.driver!r}")
        if self.motion not in MOTIONS:
            raise ParameterError(f"arm motion must be one of {MOTIONS}, got {self.motion!r}")
        if self.driver == "fci":
            self.require("address")
        pairs = (
            ("torque_nm", 7, self.lower_torque_nm, self.upper_torque_nm),
            ("force", 6, self.lower_force, self.upper_force),
        )
        for name, size, lower, upper in pairs:
            sized = len(lower) == len(upper) == size
            if not sized or any(not 0 < a <= b for a, b in zip(lower, upper, strict=True)):
                raise ParameterError(
                    f"lower_{name} and upper_{name} must be {size} numbers each, the lower ones "
                    f"above 0 and none above its upper one; got {lower} and {upper}"
                )
