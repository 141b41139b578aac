"""The gripper driver as a ROS 2 node.

Goes in: `gripper/target` (JointState, opening in m) from the guard. Comes out: actions of the hand,
and with the fci driver its opening on `franka_gripper/joint_states`, two fingers of half each.
"""

from __future__ import annotations

from sensor_msgs.msg import JointState

from rlco.core.grip import GripPlanner
from rlco.drivers.gripper.fci import FciGripper
from rlco.drivers.gripper.franka_ros2 import FrankaRos2Gripper
from rlco.drivers.gripper.gripper import Gripper, GripperError
from rlco.nodes import topics, wire
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.runtime import COMMAND_QOS, NodeError, RlcoNode, declare, main, state_qos
from rlco.parameters import GripperSettings

ACT_S = 0.02


class GripperNode(RlcoNode):
    """Turns widths into actions."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            NodeError: if the gripper cannot be reached.
        """
        super().__init__("gripper")
        settings = declare(self, GripperSettings)
        self._diagnostics = Diagnostics(self)
        self._planner = GripPlanner(
            hysteresis_m=settings.hysteresis_m, max_width_m=settings.max_width_m
        )
        direct = settings.driver == "fci"
        try:
            self._gripper: Gripper = (
                FciGripper(settings) if direct else FrankaRos2Gripper(settings, self)
            )
        except GripperError as error:
            raise NodeError(str(error)) from error
        self.get_logger().info(f"connected: {self._gripper.version}")
        self.create_subscription(JointState, topics.GRIPPER_TARGET, self._on_target, COMMAND_QOS)
        self._ticks = [self.wall_timer(ACT_S, self._act)]
        if direct:
            qos = state_qos(lock_step=False)
            self._fingers_out = self.create_publisher(JointState, topics.FINGERS, qos)
            self._ticks.append(self.wall_timer(1.0 / settings.state_rate_hz, self._publish))

    def _on_target(self, message: JointState) -> None:
        try:
            self._planner.want(wire.gripper_target_width_m(message))
        except ValueError as error:
            self._diagnostics.error(f"{topics.GRIPPER_TARGET}: {error}")

    def _act(self) -> None:
        complaint = self._gripper.complaint()
        if complaint:
            self._diagnostics.error(complaint)
        width_m = self._gripper.width_m
        if width_m is None:
            return
        action = self._planner.next(busy=self._gripper.busy, width_m=width_m)
        if action is None:
            return
        try:
            self._gripper.do(action)
        except GripperError as error:
            self._diagnostics.error(str(error))
        else:
            self._diagnostics.ok(action.verb, width_m=f"{action.width_m:.4f}")

    def _publish(self) -> None:
        width_m = self._gripper.width_m
        if width_m is not None:
            stamp_ns = self.get_clock().now().nanoseconds
            self._fingers_out.publish(wire.fingers(width_m, stamp_ns))

    def close(self) -> None:
        """Let go of the gripper."""
        self._gripper.close()


def run() -> None:
    """Run the node."""
    main(GripperNode)


if __name__ == "__main__":
    run()
