"""The robot itself over its control interface (FCI), through franky-control."""

from __future__ import annotations

import importlib.metadata
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import pose_from_quaternion, quaternion_wxyz

from rlco.drivers.arm.arm import ArmError, ArmHealth, ArmSample
from rlco.drivers.arm.support import matrix, server_version
from rlco.parameters.arm import ArmSettings

Array = NDArray[np.float64]

MODES = {
    "Idle": "idle",
    "Move": "move",
    "Guiding": "guiding",
    "Reflex": "reflex",
    "UserStopped": "user_stopped",
    "AutomaticErrorRecovery": "automatic_error_recovery",
}

CAUGHT_S = 0.1
"""How long an impedance's spring catches the arm before its torques are let go.

A spring of 800 N/m, critically damped, brings 0.1 m/s to rest in 50 ms and 3 mm; the library's own
stop, which first lets the last torques fade, takes 130 ms and 10 mm. Measured on franka-sim.
"""

LET_GO_S = 3.0


def load_library() -> Any:
    """Return franky.

    Raises:
        ArmError: if it is not installed, saying how to.
    """
    try:
        import franky
    except ImportError as error:
        raise ArmError(
            f"the fci drivers need franky-control ({error}). Type: pip install 'rlco[fci]'\n"
            f"What each robot needs:\n{matrix()}"
        ) from error
    return franky


def connect(make: Any, address: str, *, timeout_s: float, what: str) -> Any:
    """Return what `make()` connects to.

    A robot that serves another client does not answer at all, so the wait is in a thread.

    Raises:
        ArmError: if it is refused or takes longer than `timeout_s`.
    """
    made: list[Any] = []

    def attempt() -> None:
        try:
            made.append(make())
        except Exception as error:
            made.append(error)  # raised below, in the caller's thread

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not made:
        raise ArmError(
            f"no answer from the {what} at {address} within {timeout_s:.0f} s. Does another "
            "program hold the robot?"
        )
    if isinstance(made[0], Exception):
        error = made[0]
        hint = "Is FCI activated in Desk, and the address right?"
        if type(error).__name__ == "IncompatibleVersionException":
            hint = f"What each robot needs:\n{matrix()}"
        raise ArmError(f"cannot connect to the {what} at {address}: {error}. {hint}") from error
    return made[0]


class FciArm:
    """Streams Cartesian set-points; each takes over from the one before without a halt."""

    def __init__(
        self,
        settings: ArmSettings,
        library: Any = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect and set the collision thresholds; errors of the robot are left as they are.

        Raises:
            ArmError: if there is no connection, or the robot refuses the thresholds.
        """
        self._franky = library or load_library()
        franky, mode = self._franky, self._franky.RealtimeConfig
        self._robot = connect(
            lambda: franky.Robot(
                settings.address,
                realtime_config=mode.Enforce if settings.realtime else mode.Ignore,
            ),
            settings.address,
            timeout_s=settings.connect_timeout_s,
            what="robot",
        )
        self._settings = settings
        self._target: Array | None = None
        self._tracking: Any = None
        self._caught_s: float | None = None
        self._clock_s = clock_s
        self._speed = franky.RelativeDynamicsFactor(settings.dynamics_factor)
        self._stop = franky.RelativeDynamicsFactor(settings.stop_factor)
        client = importlib.metadata.version("franky-control")
        self.version = (
            f"FCI server {server_version(client)} at {settings.address}, franky-control {client}"
        )
        try:
            self._robot.set_collision_behavior(
                list(settings.lower_torque_nm),
                list(settings.upper_torque_nm),
                list(settings.lower_force),
                list(settings.upper_force),
            )
        except franky.Exception as error:
            raise ArmError(f"the robot refuses the collision thresholds: {error}") from error

    def sample(self) -> ArmSample:
        """Measure.

        Raises:
            ArmError: if the connection is lost.
        """
        try:
            state = self._robot.state
        except self._franky.Exception as error:
            raise ArmError(f"the connection to the robot is lost: {error}") from error
        pose = state.O_T_EE
        x, y, z, w = pose.quaternion
        flags = (name for name in dir(state.current_errors) if not name.startswith("_"))
        return ArmSample(
            T_base_tcp=pose_from_quaternion(pose.translation, (w, x, y, z)),
            joints_rad=np.asarray(state.q, float),
            joint_speeds_rad_s=np.asarray(state.dq, float),
            health=ArmHealth(
                mode=MODES.get(state.robot_mode.name, "other"),
                errors=tuple(n for n in flags if getattr(state.current_errors, n) is True),
            ),
        )

    def follow(self, T_base_target: Array) -> None:
        """Head for a set-point `(4, 4)`, base frame; the arm stays under control when it is there.

        Raises:
            ArmError: if the robot refuses or has stopped by itself.
        """
        if self._target is not None and np.array_equal(T_base_target, self._target):
            self.check()  # on its way there, or there: planning anew could only fail
            return
        franky = self._franky
        self._caught_s = None
        w, x, y, z = quaternion_wxyz(T_base_target[:3, :3])
        target = franky.Affine(T_base_target[:3, 3], np.array([x, y, z, w]))
        if self._settings.motion == "impedance":
            self._track(target)
        else:
            motion = franky.CartesianMotion(
                target, relative_dynamics_factor=self._speed, return_when_finished=False
            )
            self._move(motion)
        self._target = T_base_target.copy()

    def _track(self, target: Any) -> None:
        """Pull the TCP towards an Affine by a spring; one controller serves all set-points."""
        reference = self._franky.CartesianReference(target)
        if self._tracking is not None and self._robot.is_in_control:
            self.check()
            self._tracking.set_reference(reference)
            return
        tracking = self._franky.CartesianImpedanceTrackingMotion(
            translational_stiffness=self._settings.stiffness_n_m,
            rotational_stiffness=self._settings.stiffness_nm_rad,
        )
        tracking.set_reference(reference)
        self._move(tracking)
        self._tracking = tracking

    def hold(self) -> None:
        """Come to rest smoothly; control of the robot ends there, in a later `check`.

        Raises:
            ArmError: if the robot refuses or has stopped by itself.
        """
        self._target = None
        if not self._robot.is_in_control or self._caught_s is not None:
            return
        if self._tracking is None:
            self._move(self._franky.CartesianStopMotion(relative_dynamics_factor=self._stop))
            return
        here = self._franky.CartesianReference(self._robot.state.O_T_EE)
        self._tracking.set_reference(here)
        self._caught_s = self._clock_s()

    def check(self) -> None:
        """Notice a motion that the robot has ended by itself; let go of an arm that is caught.

        Raises:
            ArmError: with the robot's reason.
        """
        try:
            self._robot.poll_motion()
        except (self._franky.Exception, RuntimeError) as error:  # RuntimeError: its planner
            self._target = self._tracking = self._caught_s = None
            raise ArmError(f"the robot stopped by itself: {error}") from error
        if self._caught_s is not None and self._clock_s() - self._caught_s >= CAUGHT_S:
            self._tracking = self._caught_s = None
            self._move(self._franky.TorqueStopMotion())

    def let_go(self) -> None:
        """Wait until the arm rests after `hold` and the robot is free for another client.

        Raises:
            ArmError: if the robot has stopped by itself, or is not at rest in time.
        """
        while self._caught_s is not None:
            time.sleep(CAUGHT_S / 10)
            self.check()
        try:
            rests = self._robot.join_motion(timeout=LET_GO_S)
        except (self._franky.Exception, RuntimeError) as error:  # RuntimeError: its planner
            raise ArmError(f"the robot stopped by itself: {error}") from error
        if not rests:
            raise ArmError(f"the arm did not come to rest within {LET_GO_S:.0f} s")

    def _move(self, motion: Any) -> None:
        self.check()
        try:
            self._robot.move(motion, asynchronous=True)
        except (self._franky.Exception, RuntimeError) as error:  # RuntimeError: its planner
            raise ArmError(f"the robot does not move: {error}") from error

    def recover(self) -> None:
        """Clear the robot's error.

        Raises:
            ArmError: if it stays.
        """
        try:
            cleared = self._robot.recover_from_errors()
        except (self._franky.Exception, RuntimeError) as error:  # RuntimeError: its planner
            raise ArmError(f"the error stays: {error}") from error
        if not cleared or self._robot.has_errors:
            raise ArmError("the error stays; see Desk, and check the user stop and the joints")
