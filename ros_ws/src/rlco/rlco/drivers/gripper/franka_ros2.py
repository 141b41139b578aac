"""The Franka hand through the actions of franka_ros2's `franka_gripper` node."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from rlco.core.grip import GripAction
from rlco.drivers.arm.arm import ArmError
from rlco.drivers.gripper.gripper import GripperError
from rlco.nodes import topics, wire
from rlco.nodes.crisp_arm import load_interfaces
from rlco.nodes.runtime import state_qos
from rlco.parameters.gripper import GripperSettings

NAME = "franka_gripper"


class FrankaRos2Gripper:
    """Sends goals and never waits for them."""

    def __init__(self, settings: GripperSettings, node: Node) -> None:
        """Connect `node` to the actions; home if the settings say so.

        Raises:
            GripperError: if franka_msgs is not installed.
        """
        self._settings = settings
        try:
            self._messages = load_interfaces()
        except ArmError as error:
            raise GripperError(str(error)) from error
        action = self._messages.action
        self.version = f"{NAME} of franka_ros2"
        self._move = ActionClient(node, action.Move, f"{NAME}/move")
        self._grasp = ActionClient(node, action.Grasp, f"{NAME}/grasp")
        self._homing = ActionClient(node, action.Homing, f"{NAME}/homing")
        self._stop = node.create_client(Trigger, f"{NAME}/stop")
        self._to_home = settings.home
        self._goals = 0
        self._stopped_goal = 0
        self._complaint = ""
        self._running: int | None = None
        self._width_m: float | None = None
        # franka_ros2 publishes it reliably; best effort hears that, too
        node.create_subscription(
            JointState, topics.FINGERS, self._on_fingers, state_qos(lock_step=False)
        )

    def _on_fingers(self, message: JointState) -> None:
        self._width_m = wire.finger_width_m(message)

    @property
    def busy(self) -> bool:
        """Whether an action is under way."""
        if self._to_home and self._homing.server_is_ready():
            self._to_home = False
            self._send(self._homing, self._messages.action.Homing.Goal())
        return self._running is not None or self._to_home

    @property
    def width_m(self) -> float | None:
        """The opening measured last; None: not known yet."""
        return self._width_m

    def do(self, action: GripAction) -> None:
        """Send a goal, or call stop.

        Raises:
            GripperError: if the node that serves it is not there.
        """
        settings, kinds = self._settings, self._messages.action
        if action.verb == "stop":
            if not self._stop.service_is_ready():
                raise GripperError(f"no service {NAME}/stop; is franka_ros2's gripper running?")
            self._stopped_goal = self._goals
            self._stop.call_async(Trigger.Request())
        elif action.verb == "move":
            goal = kinds.Move.Goal(width=action.width_m, speed=settings.speed_m_s)
            self._send(self._move, goal)
        else:
            goal = kinds.Grasp.Goal(
                width=action.width_m, speed=settings.speed_m_s, force=settings.force_n
            )
            goal.epsilon.inner = goal.epsilon.outer = settings.max_width_m
            self._send(self._grasp, goal)

    def _send(self, client: ActionClient, goal: Any) -> None:
        if not client.server_is_ready():
            raise GripperError(f"no action of {NAME}; is franka_ros2's gripper running?")
        self._goals += 1
        number = self._running = self._goals

        def on_result(future: Any) -> None:
            result = future.result().result
            if not result.success and number != self._stopped_goal:
                self._complaint = f"the gripper did not reach its target: {result.error}"
            if self._running == number:
                self._running = None

        def on_answer(future: Any) -> None:
            handle = future.result()
            if handle.accepted:
                handle.get_result_async().add_done_callback(on_result)
                return
            self._complaint = "the gripper refused the goal"
            self._running = None

        client.send_goal_async(goal).add_done_callback(on_answer)

    def complaint(self) -> str:
        """Return why the last action failed, once."""
        told, self._complaint = self._complaint, ""
        return told

    def close(self) -> None:
        """Nothing to let go of."""
