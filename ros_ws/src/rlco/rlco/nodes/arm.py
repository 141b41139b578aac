"""The arm driver as a ROS 2 node.

Goes in: `target_pose` and `guard/state` from the guard. Comes out: `arm/status`, and with the fci
driver the state topics of franka_ros2. `arm/recover` clears an error of the robot, on a person's
word only. With the crisp driver crisp_controllers follows `target_pose` itself; this node sets the
collision thresholds and watches the robot.
"""

from __future__ import annotations

from typing import Protocol

from rlco_msgs.msg import ArmStatus
from std_srvs.srv import Trigger

from rlco.drivers.arm.arm import ArmError, ArmHealth
from rlco.nodes import topics
from rlco.nodes.crisp_arm import CrispSide
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.fci_arm import FciSide
from rlco.nodes.runtime import NodeError, RlcoNode, declare, main
from rlco.parameters import ArmSettings

STATUS_S = 0.05


class Side(Protocol):
    """What a driver tells the node."""

    version: str
    health: ArmHealth

    @property
    def held(self) -> str:
        """Why the driver holds the arm; empty while it does not."""

    def recover(self) -> str:
        """Clear the robot's error; return why not, or ""."""

    def close(self) -> None:
        """Let go of the robot."""


class ArmNode(RlcoNode):
    """Reports what the arm does, and recovers it when told to."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            NodeError: if the robot cannot be reached.
        """
        super().__init__("arm")
        self._settings = declare(self, ArmSettings)
        self._diagnostics = Diagnostics(self)
        self._out = self.create_publisher(ArmStatus, topics.ARM_STATUS, 10)
        try:
            self._side: Side = (
                FciSide(self, self._settings)
                if self._settings.driver == "fci"
                else CrispSide(self, self._settings)
            )
        except ArmError as error:
            raise NodeError(str(error)) from error
        self.get_logger().info(f"connected: {self._side.version}")
        self._told = ("", "")
        self.create_service(Trigger, topics.RECOVER_ARM, self._on_recover)
        self._status_timer = self.wall_timer(STATUS_S, self._report)

    def _report(self) -> None:
        health, held = self._side.health, self._side.held
        message = ArmStatus(
            driver=self._settings.driver,
            mode=health.mode,
            held=bool(held),
            reason=held,
            errors=list(health.errors),
            version=self._side.version,
        )
        message.stamp = self.get_clock().now().to_msg()
        self._out.publish(message)
        if (health.mode, held) == self._told:
            return
        self._told = (health.mode, held)
        values = {"mode": health.mode, "version": self._side.version}
        if held or health.errors:
            self._diagnostics.error(held or ", ".join(health.errors), **values)
        else:
            self._diagnostics.ok(
                "following set-points" if health.mode == "move" else "ready", **values
            )

    def _on_recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._side.recover()
        response.success = not response.message
        self.get_logger().info(f"recovery asked for: {response.message or 'done'}")
        return response

    def close(self) -> None:
        """Hold the arm and let go of the robot."""
        self._side.close()


def run() -> None:
    """Run the node."""
    main(ArmNode)


if __name__ == "__main__":
    run()
