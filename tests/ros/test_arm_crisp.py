"""The crisp arm driver and the franka_ros2 gripper driver, against stand-ins of franka_ros2."""

import signal
import sys

import pytest
from ros_processes import NodeProcess, client, nodes

pytestmark = pytest.mark.ros


class Bench:
    def __init__(self, watcher, processes):
        from rlco.nodes import topics
        from rlco.nodes.runtime import state_qos
        from rlco_msgs.msg import ArmStatus
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String, UInt8

        self.client, self.processes = watcher, processes
        self.status, self.width_m, self.log = None, None, []
        node = watcher.node
        node.create_subscription(ArmStatus, "arm/status", self._on_status, 10)
        node.create_subscription(String, "test/log", lambda m: self.log.append(m.data), 100)
        node.create_subscription(
            JointState, topics.FINGERS, self._on_fingers, state_qos(lock_step=False)
        )
        self._mode = node.create_publisher(UInt8, "test/mode", 10)
        self._target = node.create_publisher(JointState, topics.GRIPPER_TARGET, 10)
        self._wanted_m = None
        node.create_timer(0.05, self._want)

    def _on_status(self, message):
        self.status = message

    def _on_fingers(self, message):
        self.width_m = sum(message.position)

    def _want(self):
        from rlco.nodes import wire

        if self._wanted_m is not None:
            self._target.publish(wire.gripper_target(self._wanted_m, 0))

    def want(self, width_m):
        self._wanted_m = width_m

    def mode(self, value):
        from std_msgs.msg import UInt8

        self._mode.publish(UInt8(data=value))

    def until(self, done, what):
        output = "".join(item.output for item in self.processes)
        self.client.until(done, f"{what}; status {self.status}, log {self.log}, output {output}")


@pytest.fixture(scope="module")
def bench(domain, tmp_path_factory):
    pytest.importorskip("franka_msgs", reason="needs stand-ins of franka_ros2 (make setup-tests)")
    folder = tmp_path_factory.mktemp("crisp")
    robot = NodeProcess("fake_franka_ros2", {}, folder)
    arm = NodeProcess("rlco.nodes.arm", {"driver": "crisp"}, folder)
    gripper = NodeProcess("rlco.nodes.gripper", {"driver": "franka_ros2"}, folder)
    with nodes(robot, arm, gripper) as processes, client() as watcher:
        yield Bench(watcher, processes)
        assert arm.end(signal.SIGTERM) == 0
        assert gripper.end(signal.SIGTERM) == 0


def test_the_collision_thresholds_are_set_before_anyone_drives(bench):
    bench.until(lambda: bench.status is not None and not bench.status.held, "thresholds")
    assert bench.status.driver == "crisp"
    assert bench.status.mode == "idle"


def test_a_reflex_is_reported_and_cleared_on_a_persons_word_only(bench):
    from std_srvs.srv import Trigger

    bench.until(lambda: bench.status is not None, "a status")
    bench.until(lambda: bench.mode(4) or bench.status.mode == "reflex", "the reflex")
    assert list(bench.status.errors) == ["cartesian_reflex"]
    for _ in range(10):
        seen = bench.status
        bench.until(lambda seen=seen: bench.status is not seen, "the next status")
        assert bench.status.mode == "reflex"
    reply = bench.client.call(Trigger, "arm/recover", Trigger.Request())
    assert reply.success, reply.message
    bench.until(lambda: bench.status.mode == "idle", "recovery")


def test_the_broadcast_pose_goes_to_tf(bench):
    messages = pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs (make setup-tests)")
    import numpy as np
    from geometry_msgs.msg import PoseStamped
    from rlco.nodes import topics, wire
    from rlco.nodes.runtime import state_qos
    from rlco.nodes.tf import MOVING

    pose, heard, node = np.eye(4), [], bench.client.node
    pose[:3, 3] = 0.4, 0.1, 0.3
    out = node.create_publisher(PoseStamped, topics.POSE, state_qos(lock_step=False))
    node.create_subscription(messages.TFMessage, "/tf", heard.append, MOVING)
    bench.until(lambda: out.publish(wire.stamped_pose(pose, 7)) or heard, "the TCP on TF")
    (tcp,) = heard[0].transforms
    assert (tcp.header.frame_id, tcp.child_frame_id) == ("base", "tcp")
    assert tcp.transform.translation.x == 0.4
    node.destroy_publisher(out)


def test_widths_become_few_actions(bench):
    bench.until(lambda: bench.width_m is not None, "the opening")
    bench.log.clear()
    bench.want(0.0)
    bench.until(lambda: abs(bench.width_m - 0.03) < 1e-6, "the grasp of an object of 3 cm")
    bench.want(0.08)
    bench.until(lambda: abs(bench.width_m - 0.08) < 1e-6, "the hand to open")
    # A stop comes between where the grasp's result is still on its way.
    assert [word for word in bench.log if word != "stop"] == ["grasp 0.000", "move 0.080"]


def test_a_change_of_mind_stops_the_hand(bench):
    bench.log.clear()
    bench.want(0.0)
    bench.until(lambda: bench.width_m < 0.06, "the hand to close")
    bench.want(0.08)
    bench.until(lambda: bench.log[-1] == "move 0.080", "the hand to turn back")
    assert bench.log == ["grasp 0.000", "stop", "move 0.080"]


def test_without_franka_msgs_it_says_where_they_come_from(monkeypatch):
    from rlco.drivers.arm.arm import ArmError
    from rlco.nodes.crisp_arm import load_interfaces

    monkeypatch.setitem(sys.modules, "franka_msgs.action", None)
    with pytest.raises(ArmError, match=r"ROS package franka_msgs .*part of franka_ros2"):
        load_interfaces()


def test_a_silent_robot_is_reported(bench):
    bench.processes[0].end(signal.SIGKILL)
    bench.until(lambda: "is silent" in bench.status.reason, "the report")
    assert bench.status.held
