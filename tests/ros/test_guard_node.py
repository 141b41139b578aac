"""The guard as a process over DDS: hand-over, limits, stops; by the wall clock and in lock step."""

import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from ros_processes import NodeProcess, client, nodes

pytestmark = pytest.mark.ros
ERROR = 2


def pose(x, y=0.0, z=0.3):
    made = np.diag([1.0, -1.0, -1.0, 1.0])
    made[:3, 3] = x, y, z
    return made


class Bench:
    """Arm, gripper and both sources in this process, and a guard in another.

    The arm's state and the camera are published in the background of every wait.
    """

    def __init__(self, watcher, guard):
        from geometry_msgs.msg import PoseStamped
        from rlco.nodes import topics
        from rlco.nodes.guard import STATE_QOS
        from rlco.nodes.runtime import state_qos
        from rlco_msgs.msg import GuardState
        from sensor_msgs.msg import CameraInfo, JointState
        from std_msgs.msg import Bool, String

        self.client, self.guard, self.node = watcher, guard, watcher.node
        self.where, self.alive = pose(0.4), {"state", "camera", "commands"}
        self.poses, self.widths, self.state = [], [], None
        node, best_effort = self.node, state_qos(lock_step=False)
        self.state_out = node.create_publisher(PoseStamped, topics.POSE, best_effort)
        info = topics.camera_info("third_person")
        self.camera_out = node.create_publisher(CameraInfo, info, best_effort)
        self.sources = {
            name: SimpleNamespace(
                pose=node.create_publisher(PoseStamped, topics.source_pose(name), 10),
                gripper=node.create_publisher(JointState, topics.source_gripper(name), 10),
            )
            for name in ("teleop", "policy")
        }
        self.estop = node.create_publisher(Bool, topics.ESTOP, 10)
        self.events = node.create_publisher(String, topics.TELEOP_EVENT, 10)
        node.create_subscription(PoseStamped, topics.TARGET_POSE, self.poses.append, 10)
        node.create_subscription(JointState, topics.GRIPPER_TARGET, self.widths.append, 10)
        node.create_subscription(GuardState, topics.GUARD_STATE, self._on_state, STATE_QOS)
        self.source, self.step_m = "policy", 0.0
        node.create_timer(0.01, self._live)
        node.create_timer(0.05, self._command)

    def _on_state(self, message):
        self.state = message

    @property
    def now_ns(self):
        return self.node.get_clock().now().nanoseconds

    def _live(self):
        from rlco.nodes import wire
        from sensor_msgs.msg import CameraInfo

        if "state" in self.alive:
            self.state_out.publish(wire.stamped_pose(self.where, self.now_ns))
        if "camera" in self.alive:
            self.camera_out.publish(CameraInfo())

    def _command(self):
        if "commands" in self.alive and self.step_m is not None:
            self.where = pose(self.where[0, 3] + self.step_m)
            self.send(self.where)

    def send(self, target, source=None, stamp_ns=None):
        from rlco.nodes import wire

        out = self.sources[source or self.source]
        stamp_ns = stamp_ns or self.now_ns
        message = (
            target if not isinstance(target, np.ndarray) else wire.stamped_pose(target, stamp_ns)
        )
        out.pose.publish(message)
        out.gripper.publish(wire.gripper_target(0.03, stamp_ns))
        return message

    def select(self, source, contract_id=""):
        from rlco_msgs.srv import SelectSource

        request = SelectSource.Request(source=source, contract_id=contract_id)
        return self.client.call(SelectSource, "guard/select", request)

    def trigger(self, name):
        from std_srvs.srv import Trigger

        return self.client.call(Trigger, name, Trigger.Request())

    def until(self, done, what):
        self.client.until(done, f"{what}; the guard said: {self.guard.output}")

    def until_stopped(self, text):
        self.until(lambda: self.state.stopped and text in self.state.reason, f"a stop for {text!r}")

    def drive(self, source="policy"):
        """Resume if need be, hand over to `source` and wait until its commands come through."""
        self.alive = {"state", "camera", "commands"}
        self.source, self.step_m = source, 0.0
        self.until(lambda: self.state is not None, "the guard's state")
        self.until(lambda: self.trigger("guard/resume").success, "resuming")
        self.until(lambda: self.select(source).success, f"handing over to {source}")
        before = len(self.poses)
        self.until(lambda: len(self.poses) > before + 2, "commands")
        assert not self.state.stopped, self.state.reason


# Generous, for a busy machine; each test waits for an event, not for a time.
LIMITS = {
    "lock_step": False,
    "max_command_age_s": 2.0,
    "max_state_age_s": 2.0,
    "max_camera_age_s": 2.0,
}


@pytest.fixture(scope="module")
def bench(domain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    guard = NodeProcess("rlco.nodes.guard", LIMITS, folder)
    with nodes(guard), client() as watcher:
        watcher.watch_diagnostics()
        made = Bench(watcher, guard)
        yield made
        assert guard.end(signal.SIGTERM) == 0, guard.output


def test_commands_of_the_selected_source_come_through_unchanged(bench):
    bench.drive("teleop")
    bench.step_m = None
    stamp_ns = bench.now_ns + 1
    sent = bench.send(bench.where, stamp_ns=stamp_ns)
    bench.until(lambda: bench.poses[-1] == sent, "the very command")
    bench.until(lambda: bench.widths[-1].header.stamp == sent.header.stamp, "the gripper's")
    assert bench.widths[-1].position[0] == 0.03


def test_the_other_source_is_not_heard_until_it_is_handed_to(bench):
    bench.drive("policy")
    bench.source = "teleop"  # the operator takes to the controls without having been handed them
    count = len(bench.poses)
    bench.until_stopped("policy has sent no command for")
    ramp = bench.poses[count:]
    assert all(abs(m.pose.position.x - bench.where[0, 3]) < 1e-6 for m in ramp)
    assert "Resume first" in bench.select("teleop").message
    bench.drive("policy")


def test_a_contract_that_does_not_match_is_refused(bench):
    bench.drive()
    reply = bench.select("policy", "another")
    assert not reply.success
    assert "speaks contract another" in reply.message


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ("commands", "policy has sent no command for"),
        ("camera", "camera 'third_person' was heard not for"),
        ("state", "the newest state is"),
    ],
)
def test_what_falls_silent_stops_the_arm_and_is_named(bench, lost, reason):
    bench.drive()
    bench.alive.discard(lost)
    if lost == "state":
        bench.until(lambda: bench.state.stopped, "a stop")
        assert "state" in bench.state.reason
    else:
        bench.until_stopped(reason)
    bench.until(lambda: bench.client.statuses["guard"][0] == ERROR, "the diagnostics")
    assert bench.state.reason in bench.client.statuses["guard"][1]


def test_a_bad_command_stops_the_arm_and_is_not_sent_on(bench):
    from rlco.nodes import wire

    def nan(message):
        message.pose.position.x = float("nan")

    def quaternion(message):
        message.pose.orientation.w = 0.5

    def frame(message):
        message.header.frame_id = "camera"

    def far(message):
        message.pose.position.y += 0.3

    for spoil, reason in (
        (nan, "non-finite"),
        (quaternion, "norm"),
        (frame, "frame 'camera'"),
        (far, "beyond what workspace, step and speed limits permit"),
    ):
        bench.drive()
        bench.step_m = None
        message = wire.stamped_pose(bench.where, bench.now_ns + 1)
        spoil(message)
        bench.send(message)
        bench.until_stopped(reason)
        assert message not in bench.poses
        for sent in bench.poses:
            assert np.isfinite(wire.pose_matrix(sent.pose)).all()


@pytest.mark.parametrize("way", ["service", "topic", "key"])
def test_the_software_e_stop_stops_and_only_a_person_resumes(bench, way):
    from std_msgs.msg import Bool, String

    bench.drive("teleop")
    if way == "service":
        assert bench.trigger("guard/stop").success
    elif way == "topic":
        bench.estop.publish(Bool(data=True))
    else:
        bench.events.publish(String(data="estop"))
    bench.until(lambda: bench.state.stopped, "the stop")
    bench.until(lambda: not _sending(bench), "the ramp's end")
    bench.estop.publish(Bool(data=False))
    assert not _sending(bench)
    assert bench.state.stopped
    if way == "key":
        bench.events.publish(String(data="resume"))
        bench.until(lambda: not bench.state.stopped, "resuming")
        assert bench.state.source == "teleop"
    else:
        bench.drive("teleop")


def _sending(bench):
    """Whether set-points came while the sources sent five commands."""
    count, deadline = len(bench.poses), time.monotonic() + 0.25
    bench.client.until(lambda: time.monotonic() > deadline)
    return len(bench.poses) > count


def test_a_second_publisher_of_set_points_is_an_error(bench):
    from geometry_msgs.msg import PoseStamped

    bench.drive()
    intruder = bench.node.create_publisher(PoseStamped, "target_pose", 10)
    try:
        bench.until_stopped("another node publishes target_pose")
    finally:
        bench.node.destroy_publisher(intruder)


def test_an_operator_may_let_go_and_take_hold_again(bench):
    bench.drive("teleop")
    before = bench.state.handed_over
    bench.alive.discard("commands")
    bench.until(lambda: bench.state.handed_over != before, "the arm to come to rest")
    assert not bench.state.stopped
    assert bench.state.reason == "the operator has let go"
    count = len(bench.poses)
    bench.alive.add("commands")
    bench.until(lambda: len(bench.poses) > count + 20, "commands")
    assert not bench.state.stopped
    assert bench.state.reason == ""


def test_every_hand_over_has_a_time_of_its_own(bench):
    bench.drive("teleop")
    first = bench.state.handed_over
    bench.drive("policy")
    bench.until(lambda: bench.state.handed_over != first, "another time")


def test_it_refuses_while_nobody_listens(domain, tmp_path, monkeypatch):
    from rlco_msgs.srv import SelectSource

    monkeypatch.setenv("ROS_DOMAIN_ID", str(2 + (domain - 1) % 100))  # no arm is there
    guard = NodeProcess("rlco.nodes.guard", {"listeners": 2}, tmp_path, name="lonely_guard")
    with nodes(guard), client() as watcher:
        reply = watcher.call(SelectSource, "guard/select", SelectSource.Request(source="teleop"))
        assert not reply.success
        assert "parameter listeners asks for 2" in reply.message
