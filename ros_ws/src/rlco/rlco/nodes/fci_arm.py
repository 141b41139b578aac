"""The fci driver's side of the arm node: follows set-points, publishes state, stops when alone."""

from __future__ import annotations

import time

from geometry_msgs.msg import PoseStamped
from rlco_msgs.msg import GuardState
from sensor_msgs.msg import JointState

from rlco.core.arm_watch import ArmWatch
from rlco.drivers.arm.arm import Arm, ArmError, ArmHealth
from rlco.drivers.arm.fci import FciArm
from rlco.nodes import topics, wire
from rlco.nodes.guard import STATE_QOS
from rlco.nodes.runtime import COMMAND_QOS, NodeError, RlcoNode, state_qos
from rlco.nodes.tf import TcpFrame
from rlco.parameters import ArmSettings

WATCH_S = 0.01


class FciSide:
    """Drives the robot for a node."""

    def __init__(self, node: RlcoNode, settings: ArmSettings, arm: Arm | None = None) -> None:
        """Connect, and subscribe `node`.

        Raises:
            ArmError: if the robot cannot be reached.
        """
        self._node = node
        self._arm = arm or FciArm(settings)
        self.version = self._arm.version
        self.health = ArmHealth(mode="other")
        self._watch = ArmWatch(
            command_timeout_s=settings.command_timeout_s,
            guard_timeout_s=settings.guard_timeout_s,
            clock_s=time.monotonic,
        )
        self._resting = True
        qos = state_qos(lock_step=False)
        self._pose_out = node.create_publisher(PoseStamped, topics.POSE, qos)
        self._tcp_frame = TcpFrame(node)
        self._joints_out = node.create_publisher(JointState, topics.JOINTS, qos)
        node.create_subscription(PoseStamped, topics.TARGET_POSE, self._on_target, COMMAND_QOS)
        node.create_subscription(GuardState, topics.GUARD_STATE, self._on_guard, STATE_QOS)
        self._ticks = [
            node.wall_timer(1.0 / settings.state_rate_hz, self._publish),
            node.wall_timer(WATCH_S, self._check),
        ]
        self._publish()

    @property
    def held(self) -> str:
        """Why the arm is held; empty while it is not."""
        return self._watch.reason

    def _on_target(self, message: PoseStamped) -> None:
        try:
            target = wire.pose_matrix(message.pose)
        except ValueError as error:
            self._hold(f"{topics.TARGET_POSE}: {error}")
            return
        if not self._watch.follow():
            return
        self._resting = False
        try:
            self._arm.follow(target)
        except ArmError as error:
            self._fail(str(error))

    def _on_guard(self, message: GuardState) -> None:
        self._watch.hear_guard(
            message.source,
            stopped=message.stopped,
            reason=message.reason,
            handed_over_ns=wire.stamp_ns(message.handed_over),
        )
        if not self._watch.open:
            self._rest()

    def _check(self) -> None:
        reason = self._watch.check()
        if reason:
            self._node.get_logger().error(f"holding the arm: {reason}")
            self._rest()
            return
        try:
            self._arm.check()
        except ArmError as error:
            self._fail(str(error))

    def _hold(self, reason: str) -> None:
        self._watch.hold(reason)
        self._node.get_logger().error(f"holding the arm: {reason}")
        self._rest()

    def _rest(self) -> None:
        """Have the arm come to rest, once."""
        if self._resting:
            return
        self._resting = True
        try:
            self._arm.hold()
        except ArmError as error:
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        """Note that the robot does not move; it has stopped by itself."""
        self._watch.hold(reason)
        self._resting = True
        self._node.get_logger().error(reason)

    def _publish(self) -> None:
        """Publish the state.

        Raises:
            NodeError: if the connection is lost; the node ends, the robot has stopped by itself.
        """
        try:
            sample = self._arm.sample()
        except ArmError as error:
            raise NodeError(str(error)) from error
        self.health = sample.health
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._pose_out.publish(wire.stamped_pose(sample.T_base_tcp, stamp_ns))
        self._tcp_frame.send(sample.T_base_tcp, stamp_ns)
        joints = wire.joint_state(wire.ARM_JOINTS, sample.joints_rad, stamp_ns)
        joints.velocity = sample.joint_speeds_rad_s.tolist()
        self._joints_out.publish(joints)

    def recover(self) -> str:
        """Clear the robot's error; return why not, or "". The arm stays held until a hand-over."""
        try:
            self._arm.recover()
        except ArmError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Come to rest, and let go."""
        self._rest()
        try:
            self._arm.let_go()
        except ArmError as error:
            self._node.get_logger().error(str(error))
