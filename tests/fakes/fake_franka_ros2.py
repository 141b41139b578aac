"""franka_ros2 as far as rlco's nodes speak to it: robot state, services, gripper actions.

Run as `python -m fake_franka_ros2`. The test sets the robot's mode on `test/mode` (UInt8) and reads
what the collision thresholds were set to, and each gripper goal, on `test/log` (String).
"""

import functools

from franka_msgs.action import ErrorRecovery, Grasp, Homing, Move
from franka_msgs.msg import FrankaRobotState
from franka_msgs.srv import SetForceTorqueCollisionBehavior
from rclpy.action import ActionServer, GoalResponse
from rclpy.task import Future
from rlco.nodes import topics, wire
from rlco.nodes.crisp_arm import COLLISION_BEHAVIOUR, ERROR_RECOVERY, ROBOT_STATE
from rlco.nodes.runtime import RlcoNode, main
from sensor_msgs.msg import JointState
from std_msgs.msg import String, UInt8
from std_srvs.srv import Trigger

OBJECT_M, STEP_M, TICK_S = 0.03, 0.002, 0.01


class FrankaRos2(RlcoNode):
    def __init__(self):
        super().__init__("fake_franka_ros2")
        self._mode, self._width_m = FrankaRobotState.ROBOT_MODE_IDLE, 0.08
        self._goal = None  # (target m, future) of the action under way
        self._state_out = self.create_publisher(FrankaRobotState, ROBOT_STATE, 10)
        self._fingers_out = self.create_publisher(JointState, topics.FINGERS, 10)
        self._log = self.create_publisher(String, "test/log", 100)
        self.create_subscription(UInt8, "test/mode", self._on_mode, 10)
        self.create_service(SetForceTorqueCollisionBehavior, COLLISION_BEHAVIOUR, self._on_limits)
        self.create_service(Trigger, "franka_gripper/stop", self._on_stop)
        self._servers = [
            ActionServer(self, ErrorRecovery, ERROR_RECOVERY, self._recover),
            *(
                ActionServer(
                    self,
                    kind,
                    f"franka_gripper/{kind.__name__.lower()}",
                    functools.partial(self._grip, kind),
                    goal_callback=self._admit,
                )
                for kind in (Homing, Move, Grasp)
            ),
        ]
        self._ticks = [self.wall_timer(TICK_S, self._tick)]

    def _on_mode(self, message):
        self._mode = message.data

    def _tick(self):
        if self._goal is not None:
            target, done = self._goal
            closing = target < self._width_m
            floor = OBJECT_M if closing else 0.0
            step = max(-STEP_M, min(STEP_M, max(target, floor) - self._width_m))
            self._width_m += step
            if abs(step) < 1e-9:
                self._goal = None
                done.set_result(True)
        message = FrankaRobotState(robot_mode=self._mode)
        message.current_errors.cartesian_reflex = self._mode == FrankaRobotState.ROBOT_MODE_REFLEX
        self._state_out.publish(message)
        now_ns = self.get_clock().now().nanoseconds
        self._fingers_out.publish(wire.fingers(self._width_m, now_ns))

    def _on_limits(self, request, response):
        limits = [*request.upper_torque_thresholds_nominal, *request.upper_force_thresholds_nominal]
        self._log.publish(String(data=f"limits {[round(float(v), 3) for v in limits]}"))
        response.success = True
        return response

    def _on_stop(self, request, response):
        if self._goal is not None:
            self._goal[1].set_result(False)
            self._goal = None
        self._log.publish(String(data="stop"))
        response.success = True
        return response

    def _recover(self, handle):
        self._mode = FrankaRobotState.ROBOT_MODE_IDLE
        handle.succeed()
        return ErrorRecovery.Result()

    def _admit(self, goal):
        return GoalResponse.REJECT if self._goal is not None else GoalResponse.ACCEPT

    async def _grip(self, kind, handle):
        width_m = 0.08 if kind is Homing else handle.request.width
        self._log.publish(String(data=f"{kind.__name__.lower()} {width_m:.3f}"))
        done = Future()
        self._goal = (width_m, done)
        reached = await done
        handle.succeed()
        return kind.Result(success=bool(reached))


if __name__ == "__main__":
    main(FrankaRos2)
