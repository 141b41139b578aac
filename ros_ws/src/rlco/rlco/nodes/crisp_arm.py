"""The crisp driver's side of the arm node: crisp_controllers drives, franka_ros2 reports.

crisp_controllers holds its last target for as long as it runs and has no watchdog of its own; the
guard's last set-points (`StopRamp`) are what bring the arm to rest.
"""

from __future__ import annotations

import time
from contextlib import suppress
from importlib import import_module
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from rlco.drivers.arm.arm import ArmError, ArmHealth
from rlco.nodes import topics, wire
from rlco.nodes.runtime import state_qos
from rlco.nodes.tf import TcpFrame
from rlco.parameters import ArmSettings

ROBOT_STATE = "franka_robot_state_broadcaster/robot_state"
COLLISION_BEHAVIOUR = "service_server/set_force_torque_collision_behavior"
ERROR_RECOVERY = "action_server/error_recovery"
READ_S = 0.02
"""The state comes at 1 kHz; it is only read so often."""
SILENT_S = 0.2
RETRY_S = 1.0
MODES = (
    "other",
    "idle",
    "move",
    "guiding",
    "reflex",
    "user_stopped",
    "automatic_error_recovery",
)
"""By franka_msgs/FrankaRobotState.robot_mode."""


def load_interfaces() -> Any:
    """Return franka_msgs.

    Raises:
        ArmError: if it is not installed, saying where it comes from.
    """
    try:
        for part in ("action", "msg", "srv"):
            import_module(f"franka_msgs.{part}")
    except ImportError as error:
        raise ArmError(
            f"the franka_ros2 drivers need the ROS package franka_msgs ({error}). It is part of "
            "franka_ros2 (branch jazzy): build that in your workspace and source it."
        ) from error
    return import_module("franka_msgs")


class CrispSide:
    """Watches the robot for a node."""

    def __init__(self, node: Node, settings: ArmSettings) -> None:
        """Subscribe `node`, and ask for the collision thresholds until they are set.

        Raises:
            ArmError: if franka_msgs is not installed.
        """
        self._node = node
        self._messages = load_interfaces()
        self._settings = settings
        self.version = "crisp_controllers over franka_ros2; its log names server and system"
        self.health = ArmHealth(mode="other")
        self._raw: bytes = b""
        self._raw_pose: bytes = b""
        self._tcp_frame = TcpFrame(node)
        self._heard_s = float("-inf")
        self._thresholds_set = False
        self._refusal = "the robot's state was not heard yet"
        qos = state_qos(lock_step=False, depth=1)
        node.create_subscription(
            self._messages.msg.FrankaRobotState, ROBOT_STATE, self._on_state, qos, raw=True
        )
        node.create_subscription(PoseStamped, topics.POSE, self._on_pose, qos, raw=True)
        behaviour = self._messages.srv.SetForceTorqueCollisionBehavior
        self._behaviour = node.create_client(behaviour, COLLISION_BEHAVIOUR)
        self._recovery = ActionClient(node, self._messages.action.ErrorRecovery, ERROR_RECOVERY)
        self._ticks = [
            node.create_timer(READ_S, self._read),
            node.create_timer(RETRY_S, self._set_thresholds),
        ]

    @property
    def held(self) -> str:
        """Why no source should drive; empty if one may."""
        if time.monotonic() - self._heard_s > SILENT_S:
            return f"{ROBOT_STATE} is silent; is franka_ros2 running?"
        return "" if self._thresholds_set else self._refusal

    def _on_state(self, raw: bytes) -> None:
        self._raw, self._heard_s = raw, time.monotonic()

    def _on_pose(self, raw: bytes) -> None:
        self._raw_pose = raw

    def _broadcast(self) -> None:
        """Pass the newest pose on to TF; a pose that cannot be read is the guard's to report."""
        raw, self._raw_pose = self._raw_pose, b""
        if not raw:
            return
        message = deserialize_message(raw, PoseStamped)
        with suppress(ValueError):
            stamp_ns = wire.stamp_ns(message.header.stamp)
            self._tcp_frame.send(wire.pose_matrix(message.pose), stamp_ns)

    def _read(self) -> None:
        self._broadcast()
        if not self._raw:
            return
        message = deserialize_message(self._raw, self._messages.msg.FrankaRobotState)
        self._raw = b""
        errors = message.current_errors
        names = errors.get_fields_and_field_types()
        mode = message.robot_mode
        self.health = ArmHealth(
            mode=MODES[mode] if mode < len(MODES) else "other",
            errors=tuple(name for name in names if getattr(errors, name)),
        )

    def _set_thresholds(self) -> None:
        if self._thresholds_set:
            return
        if not self._behaviour.service_is_ready():
            self._refusal = (
                f"the collision thresholds are not set: no service {COLLISION_BEHAVIOUR}"
            )
            return
        settings = self._settings
        request = self._messages.srv.SetForceTorqueCollisionBehavior.Request(
            lower_torque_thresholds_nominal=settings.lower_torque_nm,
            upper_torque_thresholds_nominal=settings.upper_torque_nm,
            lower_force_thresholds_nominal=settings.lower_force,
            upper_force_thresholds_nominal=settings.upper_force,
        )
        self._behaviour.call_async(request).add_done_callback(self._on_thresholds)

    def _on_thresholds(self, future: Any) -> None:
        reply = future.result()
        self._thresholds_set = bool(reply.success)
        if not reply.success:
            self._refusal = f"the robot refuses the collision thresholds: {reply.error}"

    def recover(self) -> str:
        """Ask franka_ros2 to clear the robot's error; return why not, or "".

        `arm/status` tells whether it did.
        """
        if not self._recovery.server_is_ready():
            return f"no action {ERROR_RECOVERY}; is franka_ros2 running?"
        self._recovery.send_goal_async(self._messages.action.ErrorRecovery.Goal())
        return ""

    def close(self) -> None:
        """Nothing to let go of."""
