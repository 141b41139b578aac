"""An operator's device as a ROS 2 node: targets to the guard, events to recorder and guard.

Reads the device at a fixed rate. While the guard lets `teleop` drive and the clutch is engaged, it
publishes `teleop/target_pose` and `teleop/gripper_target`, beginning where the arm is measured,
each stamped as the measured pose it answers. Otherwise it publishes nothing, nor does it when the
device is lost: the guard then brings the arm to rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_msgs.msg import GuardState
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from rlco.core.gestures import BindingError, parse_bindings
from rlco.core.teleop import ACTIONS, Measured, Reading, Teleop, TeleopRules
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError, TeleopDevice
from rlco.drivers.teleop.make import make_device
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import Commander
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.guard import STATE_QOS
from rlco.nodes.runtime import COMMAND_QOS, NodeError, RlcoNode, declare, main, state_qos
from rlco.parameters import ParameterError, TeleopParameters, contract_named

SOURCE = "teleop"
RETRY_S = 1.0
REPORT_S = 1.0


class TeleopNode(RlcoNode):
    """Reads one device and drives."""

    def __init__(self, make: Callable[[TeleopParameters], TeleopDevice] = make_device) -> None:
        """Listen to the bench and begin to look at the device."""
        super().__init__("teleop")
        self._parameters = declare(self, TeleopParameters)
        self._contract = contract_named(self._parameters.contract)
        try:
            self._device = make(self._parameters)
        except DeviceSetupError as error:
            raise NodeError(str(error)) from error
        self._teleop = make_teleop(self._parameters, self._contract, self._device)
        self._guard: GuardState | None = None
        self._pose: tuple[int, NDArray[np.float64]] | None = None
        self._pose_heard_s = -math.inf
        self._width_m: float | None = None
        self._commanded_width_m: float | None = None
        self._answered_ns = -1
        self._is_open = False
        self._found = self._complaint = ""
        self._retry_s = self._report_s = 0.0
        self._fatal: str | None = None
        self._last_s = time.monotonic()
        self._diagnostics = Diagnostics(self)
        self._commander = Commander(self, SOURCE)
        self._event_out = self.create_publisher(String, topics.TELEOP_EVENT, 10)
        self._listen()
        self._timer = self.wall_timer(1.0 / self._parameters.rate_hz, self._tick)

    def run(self) -> int:
        """Serve until stopped, or until the device turns out to be unusable."""
        self.runtime.spin_until(lambda: self._fatal is not None)
        raise NodeError(self._fatal or "")

    def close(self) -> None:
        """Let the device go."""
        self._device.close()

    def _listen(self) -> None:
        lock_step = self._parameters.lock_step
        qos = state_qos(lock_step=lock_step, depth=10 if lock_step else 1)
        self.create_subscription(PoseStamped, topics.POSE, self._on_pose, qos)
        self.create_subscription(JointState, topics.FINGERS, self._on_fingers, qos)
        self.create_subscription(
            JointState, topics.GRIPPER_TARGET, self._on_gripper_target, COMMAND_QOS
        )
        self.create_subscription(GuardState, topics.GUARD_STATE, self._on_guard, STATE_QOS)

    def _on_pose(self, message: PoseStamped) -> None:
        try:
            pose = wire.pose_matrix(message.pose)
        except ValueError as error:
            self.get_logger().error(f"{topics.POSE}: {error}", once=True)
            return
        self._pose = (wire.stamp_ns(message.header.stamp), pose)
        self._pose_heard_s = time.monotonic()

    def _on_fingers(self, message: JointState) -> None:
        try:
            self._width_m = wire.finger_width_m(message)
        except wire.WireError as error:
            self.get_logger().error(f"{topics.FINGERS}: {error}", once=True)

    def _on_gripper_target(self, message: JointState) -> None:
        try:
            self._commanded_width_m = wire.gripper_target_width_m(message)
        except wire.WireError as error:
            self.get_logger().error(f"{topics.GRIPPER_TARGET}: {error}", once=True)

    def _on_guard(self, message: GuardState) -> None:
        if self._guard is None or message.handed_over != self._guard.handed_over:
            self._teleop.let_go()  # the arm may be elsewhere by now
            if not self._parameters.lock_step:
                self._pose = None  # begin at a pose that is measured from now on
        self._guard = message

    def _tick(self) -> None:
        """Look at the device once, and pass on what comes of it."""
        now_s = time.monotonic()
        dt_s = min(now_s - self._last_s, 2.0 / self._parameters.rate_hz)
        self._last_s = now_s
        reading = self._read(now_s)
        if reading is None:
            self._teleop.release()
            return
        why_not = self._why_not_driving(now_s)
        if not why_not and self._answered:
            self._commander.repeat(self._answered_ns)
            return
        measured = None if why_not else self._measured()
        if self._parameters.lock_step:
            dt_s = self._contract.period_s
        step = self._teleop.update(reading, measured, dt_s=dt_s, now_s=now_s)
        for event in step.events:
            self.get_logger().info(f"operator: {event}")
            self._event_out.publish(String(data=event))
        if step.target is not None and self._pose is not None:
            self._answered_ns = self._pose[0]
            self._commander.send(step.target, self._answered_ns)
        self._report(now_s, why_not)

    @property
    def _answered(self) -> bool:
        """Whether a lock-stepped lab has not moved since the last command."""
        lock_step, engaged = self._parameters.lock_step, self._teleop.engaged
        return (
            lock_step and engaged and self._pose is not None and self._pose[0] == self._answered_ns
        )

    def _read(self, now_s: float) -> Reading | None:
        try:
            if not self._is_open:
                if now_s < self._retry_s:
                    return None
                self._found = self._device.open()
                self._is_open, self._complaint = True, ""
                self.get_logger().info(f"{self._found} is ready")
            return self._device.read()
        except DeviceSetupError as error:
            self._fatal = str(error)
        except DeviceLostError as error:
            self._device.close()
            self._is_open, self._retry_s = False, now_s + RETRY_S
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._diagnostics.error(self._complaint)
        return None

    def _why_not_driving(self, now_s: float) -> str:
        """Return why teleoperation may not drive now; "" if it may."""
        if not self._parameters.drives:
            return "keys only"
        if self._guard is None:
            return "the guard is not heard. Is it running?"
        if self._guard.stopped:
            return f"the guard stopped the arm: {self._guard.reason}"
        if self._guard.source != SOURCE:
            return f"the guard lets {self._guard.source} drive (service {topics.SELECT_SOURCE})"
        silent = now_s - self._pose_heard_s > self._parameters.silence_s
        if silent or self._pose is None or self._width_m is None:
            return f"{topics.POSE} or {topics.FINGERS} is silent"
        return ""

    def _measured(self) -> Measured:
        assert self._pose is not None
        assert self._width_m is not None
        return Measured(
            T_base_tcp=self._pose[1],
            width_m=self._width_m,
            commanded_width_m=self._commanded_width_m,
        )

    def _report(self, now_s: float, why_not: str) -> None:
        """Say once a second what the operator would want to know."""
        if now_s < self._report_s:
            return
        self._report_s = now_s + REPORT_S
        doing = "driving" if self._teleop.engaged else why_not or "clutch open"
        values: dict[str, Any] = {"device": self._found, "speed": self._teleop.speed}
        self._diagnostics.ok(doing, **values)


def make_teleop(parameters: TeleopParameters, contract: Contract, device: TeleopDevice) -> Teleop:
    """Return the operator's rules: as the parameters say, else what suits the device.

    Raises:
        ParameterError: if a binding cannot be read.
    """
    try:
        bindings = parse_bindings(parameters.bindings or device.default_bindings, ACTIONS)
    except BindingError as error:
        raise ParameterError(f"parameter 'bindings': {error}") from error
    clutch: Any = parameters.clutch or device.default_clutch
    if parameters.drives and clutch != "always" and "clutch" not in bindings.values():
        raise ParameterError(
            f"clutch {clutch!r} needs a button: bind one (bindings: '...=clutch'), or set clutch "
            "to always"
        )
    return Teleop(
        TeleopRules(
            speed_m_s=parameters.speed_m_s,
            turn_rad_s=parameters.turn_rad_s,
            dead_band=parameters.dead_band,
            clutch=clutch,
            leash_m=parameters.leash_m,
            leash_rad=parameters.leash_rad,
            gripper_max_width_m=contract.gripper_max_width_m,
            view_yaw_rad=math.radians(parameters.view_yaw_deg),
        ),
        bindings,
    )


def run() -> None:
    """Run the node."""
    main(TeleopNode)


if __name__ == "__main__":
    run()
