"""Teleoperation without devices and ROS: what an operator's input does to the target.

Rate devices (SpaceMouse, keyboard, gamepad) give velocities, a leader arm (GELLO) gives joint
angles. Either way the target is moved relative to where it was when the clutch engaged, so that
engaging never makes the arm jump. Directions are those of the base frame, turned by the operator's
point of view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import apply_delta, delta_between
from scipy.spatial.transform import Rotation

from rlco.core.gestures import Gestures
from rlco.core.kinematics import tcp_pose
from rlco.core.targets import Target, shortened

Array = NDArray[np.float64]

EVENTS = ("start", "success", "failure", "discard", "redo", "stop", "resume", "estop")
"""What is passed on to recorder and guard, on `teleop/event`."""
CONTROLS = ("clutch", "gripper", "faster", "slower")
"""What the operator changes here."""
ACTIONS = CONTROLS + EVENTS
HALTS = ("stop", "estop")
LONG_PRESS_S = 0.7
OPENING_TAKES_OVER = 0.1
"""A leader's gripper counts once it was moved by this share: engaging must not drop an object."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a device says at one instant.

    Attributes:
        axes: `(6,)` in [-1, 1]: forward, left, up, and turns about these; zeros for a leader.
        joints_rad: A leader's joint angles `(7,)`, or None.
        opening: A leader's gripper in [0, 1], 1 = open, or None.
        held: Names of the buttons that are held down.
    """

    axes: Array = field(default_factory=lambda: np.zeros(6))
    joints_rad: Array | None = None
    opening: float | None = None
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class TeleopRules:
    """How input becomes motion."""

    speed_m_s: float
    turn_rad_s: float
    dead_band: float
    speeds: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    clutch: Literal["hold", "toggle", "always"]
    leash_m: float
    leash_rad: float
    gripper_max_width_m: float
    view_yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("speed_m_s", "turn_rad_s", "leash_m", "leash_rad", "gripper_max_width_m"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.dead_band < 1:
            raise ValueError(f"dead_band must be in [0, 1), got {self.dead_band}")
        if not self.speeds or list(self.speeds) != sorted(self.speeds) or self.speeds[0] <= 0:
            raise ValueError(f"speeds must be positive and rise, got {self.speeds}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """The bench as measured; `commanded_width_m` is what the gripper was last told, if known."""

    T_base_tcp: Array
    width_m: float
    commanded_width_m: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What comes of one reading: a target, or None where teleoperation does not drive."""

    target: Target | None
    events: tuple[str, ...]


class Teleop:
    """One operator: clutch, speed, gripper, and the target in force."""

    def __init__(self, rules: TeleopRules, bindings: Mapping[str, str]) -> None:
        """Take the rules and gesture -> action."""
        self._rules = rules
        self._gestures = Gestures(
            {name: action for name, action in bindings.items() if not self._is_dead_man(action)},
            LONG_PRESS_S,
        )
        self._dead_man = {name for name, action in bindings.items() if self._is_dead_man(action)}
        self._clutched = rules.clutch == "always"
        self._speed = min(2, len(rules.speeds) - 1)
        self._target: Target | None = None
        self._leader: Leader | None = None
        self._view = Rotation.from_euler("z", rules.view_yaw_rad).as_matrix()

    @property
    def engaged(self) -> bool:
        """Whether teleoperation drives the target now."""
        return self._target is not None

    @property
    def speed(self) -> float:
        """The share of the full speed that is chosen."""
        return self._rules.speeds[self._speed]

    def let_go(self) -> None:
        """Forget the target: where driving goes on, it begins where the arm is measured."""
        self._target = self._leader = None

    def release(self) -> None:
        """Let go and open the clutch, as when the device is lost."""
        self.let_go()
        if self._rules.clutch == "toggle":
            self._clutched = False

    def update(
        self, reading: Reading, measured: Measured | None, *, dt_s: float, now_s: float
    ) -> Step:
        """Take in a reading `dt_s` after the last one.

        Args:
            reading: The device's input.
            measured: The arm and gripper now; None where teleoperation may not drive.
            dt_s: How long the reading's velocity counts.
            now_s: A steady clock, for long presses.
        """
        toggles_gripper = False
        events = []
        for action in self._gestures.update(reading.held, now_s):
            if action == "clutch":
                self._clutched = not self._clutched
            elif action == "gripper":
                toggles_gripper = not toggles_gripper
            elif action in ("faster", "slower"):
                step = 1 if action == "faster" else -1
                self._speed = min(max(self._speed + step, 0), len(self._rules.speeds) - 1)
            else:
                events.append(action)
        if self._rules.clutch == "hold":
            self._clutched = bool(self._dead_man & reading.held)
        if set(events) & set(HALTS):
            self.release()
        elif measured is None or not self._clutched:
            self.let_go()
        else:
            self._target = self._advance(reading, measured, dt_s, toggles_gripper)
        return Step(target=self._target, events=tuple(events))

    def _is_dead_man(self, action: str) -> bool:
        return action == "clutch" and self._rules.clutch == "hold"

    def _advance(
        self, reading: Reading, measured: Measured, dt_s: float, toggles_gripper: bool
    ) -> Target:
        target = self._target
        if target is None:
            known = measured.commanded_width_m
            width_m = measured.width_m if known is None else known
            target = Target(T_base_target=measured.T_base_tcp.copy(), width_m=width_m)
            self._leader = Leader.start(reading, target)
        delta = self._wanted(reading, target, dt_s)
        limits = (self._rules.speed_m_s * dt_s, self._rules.turn_rad_s * dt_s)
        pose = apply_delta(target.T_base_target, shortened(delta, *limits))
        ahead = delta_between(measured.T_base_tcp, pose)
        held = shortened(ahead, self._rules.leash_m, self._rules.leash_rad)
        if not np.array_equal(held, ahead):
            pose = apply_delta(measured.T_base_tcp, held)
        return Target(
            T_base_target=pose, width_m=self._width_m(reading, target.width_m, toggles_gripper)
        )

    def _wanted(self, reading: Reading, target: Target, dt_s: float) -> Array:
        """Return the delta `(6,)` (m, rad; base frame) that the operator asks for."""
        if self._leader is not None and reading.joints_rad is not None:
            return delta_between(
                target.T_base_target, self._leader.follow(reading.joints_rad, self._view)
            )
        rates = without_dead_band(reading.axes, self._rules.dead_band) * self.speed
        return np.concatenate(
            [
                self._view @ rates[:3] * self._rules.speed_m_s * dt_s,
                self._view @ rates[3:] * self._rules.turn_rad_s * dt_s,
            ]
        )

    def _width_m(self, reading: Reading, width_m: float, toggle: bool) -> float:
        full = self._rules.gripper_max_width_m
        if toggle:
            return full if width_m <= full / 2 else 0.0
        if self._leader is not None and self._leader.grips(reading.opening):
            return min(max(float(reading.opening or 0.0), 0.0), 1.0) * full
        return min(max(width_m, 0.0), full)


class Leader:
    """A leader arm from the moment the clutch engaged."""

    def __init__(self, T_leader_start: Array, T_base_start: Array, opening: float | None) -> None:
        """Take where leader and target were, and the leader's gripper."""
        self._leader = T_leader_start
        self._base = T_base_start
        self._opening = opening
        self._grips = False

    @classmethod
    def start(cls, reading: Reading, target: Target) -> Leader | None:
        """Return the leader of a reading, or None if the device is none."""
        if reading.joints_rad is None:
            return None
        return cls(tcp_pose(reading.joints_rad), target.T_base_target, reading.opening)

    def follow(self, joints_rad: Array, view: Array) -> Array:
        """Return the target `(4, 4)`: moved as the leader's TCP has moved since the start."""
        moved = delta_between(self._leader, tcp_pose(joints_rad))
        return apply_delta(self._base, np.concatenate([view @ moved[:3], view @ moved[3:]]))

    def grips(self, opening: float | None) -> bool:
        """Whether the leader's gripper was moved since the start, and so counts from now on."""
        if opening is not None and self._opening is not None:
            self._grips |= abs(opening - self._opening) > OPENING_TAKES_OVER
        return self._grips and opening is not None


def without_dead_band(axes: Array, dead_band: float) -> Array:
    """Return axes in [-1, 1] that are zero inside the dead band and rise from zero outside it."""
    clipped = np.clip(np.nan_to_num(axes), -1.0, 1.0)
    beyond = np.maximum(np.abs(clipped) - dead_band, 0.0) / (1.0 - dead_band)
    return np.asarray(np.sign(clipped) * beyond, float)
