"""A cube is grasped and lifted: guard, fci arm and fci gripper against a robot with contact."""

import numpy as np
import pytest
from fci_bench import Rig
from fci_peers import peer
from ros_processes import client

pytestmark = [pytest.mark.ros, pytest.mark.slow]
OPEN_M, CLOSED_M, CUBE_M = 0.08, 0.0, 0.04
STEP_M, LEASH_M = 0.005, 0.04
PERIOD_S = 0.05


@pytest.fixture
def rig(domain, tmp_path):
    pytest.importorskip("franky", reason="needs franky-control (make setup-tests)")
    with peer("physics", tmp_path) as robot, client() as watcher:
        made = Rig(watcher, robot, tmp_path)
        # What counts here is the grasp: a busy machine may delay anything.
        made.start_guard(max_command_age_s=10.0, max_state_age_s=10.0)
        made.start_arm(command_timeout_s=10.0, guard_timeout_s=10.0)
        made.start_gripper()
        yield made
        made.close()


class Operator:
    """Leads the TCP along straight lines, and waits for the arm where it lags."""

    def __init__(self, rig):
        from geometry_msgs.msg import PoseStamped
        from rlco.nodes import topics
        from sensor_msgs.msg import JointState

        self._rig = rig
        self._pose_out = rig.client.node.create_publisher(
            PoseStamped, topics.source_pose("teleop"), 10
        )
        self._gripper_out = rig.client.node.create_publisher(
            JointState, topics.source_gripper("teleop"), 10
        )
        self._target, self._handed_over = None, None
        self.goal_m, self.width_m = None, OPEN_M
        rig.client.node.create_timer(PERIOD_S, self._command)

    def _command(self):
        from rlco.nodes import wire

        state, pose = self._rig.state, self._rig.pose
        if state is None or pose is None or state.stopped or state.source != "teleop":
            return
        if state.handed_over != self._handed_over:
            self._handed_over, self._target = state.handed_over, pose.copy()
        if self.goal_m is not None and self.lag_m() < LEASH_M:
            way = self.goal_m - self._target[:3, 3]
            self._target[:3, 3] += way * min(1.0, STEP_M / max(np.linalg.norm(way), 1e-9))
        now_ns = self._rig.client.node.get_clock().now().nanoseconds
        self._pose_out.publish(wire.stamped_pose(self._target, now_ns))
        self._gripper_out.publish(wire.gripper_target(self.width_m, now_ns))

    def lag_m(self):
        return np.linalg.norm(self._target[:3, 3] - self._rig.pose[:3, 3])

    def go(self, position_m):
        self.goal_m = np.asarray(position_m, float)
        self._rig.until(
            lambda: np.linalg.norm(self._rig.pose[:3, 3] - self.goal_m) < 0.005,
            f"the TCP at {position_m}, it is at {self._rig.pose[:3, 3]}",
        )


def test_a_cube_is_grasped_and_lifted(rig):
    robot = rig.robot
    operator = Operator(rig)
    rig.until_ready()
    rig.until(lambda: rig.select("teleop"), "handing over")
    x, y, z = robot.newest()["cube"]
    operator.go((x, y, z + 0.12))
    operator.go((x, y, z))
    operator.width_m = CLOSED_M
    rig.until(lambda: abs(robot.newest()["width"] - CUBE_M) < 0.002, "the fingers at the cube")
    rig.spin(0.5)
    operator.go((x, y, z + 0.15))
    assert robot.newest()["cube"][2] > z + 0.1, "the cube was lifted with the hand"
    assert "gripper server 3 at" in rig.processes["gripper"].output
    operator.width_m = OPEN_M
    rig.until(lambda: robot.newest()["width"] > 0.075, "the hand to open")
    rig.until(lambda: robot.newest()["cube"][2] < z + 0.01, "the cube to fall")
    assert not rig.state.stopped
