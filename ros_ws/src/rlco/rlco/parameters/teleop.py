"""The parameters of a teleoperation node; a bench's YAML holds one of these."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlco.parameters.base import ParameterError, Parameters, describe, parameter
from rlco.parameters.bench import BenchParameters

DEVICES = ("spacemouse", "keyboard", "desktop_keyboard", "gamepad", "gello")
CLUTCHES = ("", "hold", "toggle", "always")
GAMEPADS = ("xbox", "playstation")
SERVOS = 7


@dataclass(frozen=True, kw_only=True)
class TeleopSettings(Parameters):
    """What the operator holds, and how it moves the arm."""

    device: str = parameter("spacemouse", f"One of: {', '.join(DEVICES)}.")
    path: str = parameter(
        "",
        "Gamepad: /dev/input/js0 or a path that stays; GELLO: the serial port, best from "
        "/dev/serial/by-id; SpaceMouse: /dev/hidraw..., empty for the first one found.",
    )
    gamepad: str = parameter("xbox", f"Gamepad: which one, of {', '.join(GAMEPADS)}.")
    bindings: str = parameter(
        "",
        "GESTURE=ACTION, separated by commas, in place of the device's own (docs/devices.md); "
        "a gesture is a button, a long press (left.long) or a chord (left+right).",
    )
    clutch: str = parameter(
        "",
        "hold: drive while the clutch button is held; toggle: it switches; always: drive whenever "
        "the guard allows; empty: what suits the device.",
    )
    drives: bool = parameter(
        True, "False: only the keys count, for a keyboard beside another device."
    )
    rate_hz: float = parameter(20.0, "Targets a second (wall clock).", low=1.0, high=200.0)
    speed_m_s: float = parameter(0.25, "Full speed (m/s).", low=0.001, high=1.0)
    turn_rad_s: float = parameter(0.8, "Full turning speed (rad/s).", low=0.001, high=3.0)
    dead_band: float = parameter(
        0.1, "Deflection that counts as none, as a share of the full one.", low=0.0, high=0.9
    )
    view_yaw_deg: float = parameter(
        0.0,
        "Where the operator looks: 0 along the arm's x axis (from behind the base), 180 facing it.",
        low=-360.0,
        high=360.0,
    )
    leash_m: float = parameter(
        0.1, "The target stays within this distance (m) of the arm, as when it is blocked.",
        low=0.005, high=1.0,
    )  # fmt: skip
    leash_rad: float = parameter(
        0.5, "The target stays within this angle (rad) of the arm.", low=0.01, high=3.0
    )
    servo_ids: tuple[int, ...] = parameter(
        (1, 2, 3, 4, 5, 6, 7), "GELLO: Dynamixel IDs of joints 1 to 7.", low=0, high=252
    )
    gripper_servo_id: int = parameter(
        8, "GELLO: Dynamixel ID of the trigger; 0 for none.", low=0, high=252
    )
    baud: int = parameter(57600, "GELLO: baud rate.", low=9600, high=4_000_000)
    joint_signs: tuple[float, ...] = parameter(
        (1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0), "GELLO: 1 or -1 for each joint.", low=-1, high=1
    )
    joint_offsets_rad: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "GELLO: the servo's angle (rad) where the joint is at zero.",
        low=-100.0,
        high=100.0,
    )
    trigger_open_rad: float = parameter(
        3.4, "GELLO: the trigger servo's angle (rad) when open.", low=-10.0, high=10.0
    )
    trigger_closed_rad: float = parameter(
        2.7, "GELLO: the trigger servo's angle (rad) when closed.", low=-10.0, high=10.0
    )

    def __post_init__(self) -> None:
        """Check ranges, choices and what the device needs."""
        super().__post_init__()
        for name, choices in (
            ("device", DEVICES),
            ("clutch", CLUTCHES),
            ("gamepad", GAMEPADS),
        ):
            if getattr(self, name) not in choices:
                raise ParameterError(
                    f"parameter {name!r} must be one of {', '.join(filter(None, choices))}, got "
                    f"{getattr(self, name)!r}: {describe(type(self))[name]}"
                )
        if self.device in ("gamepad", "gello"):
            self.require("path")
        if self.device == "gello":
            self._check_gello()

    def _check_gello(self) -> None:
        for name in ("servo_ids", "joint_signs", "joint_offsets_rad"):
            if len(getattr(self, name)) != SERVOS:
                raise ParameterError(
                    f"parameter {name!r} must have {SERVOS} values, got {getattr(self, name)}"
                )
        ids = [*self.servo_ids, *([self.gripper_servo_id] if self.gripper_servo_id else [])]
        if len(set(ids)) != len(ids):
            raise ParameterError(f"every servo must have an ID of its own, got {ids}")
        if set(map(abs, self.joint_signs)) != {1.0}:
            raise ParameterError(f"joint_signs must be 1 or -1, got {self.joint_signs}")
        if math.isclose(self.trigger_open_rad, self.trigger_closed_rad):
            raise ParameterError("trigger_open_rad and trigger_closed_rad must differ")


@dataclass(frozen=True, kw_only=True)
class TeleopParameters(TeleopSettings, BenchParameters):
    """The teleoperation node."""
