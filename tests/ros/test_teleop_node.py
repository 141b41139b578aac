"""The teleoperation node as a process, its devices spoken to byte by byte."""

import os
import pty
import signal
import struct
import subprocess
import time

import numpy as np
import pytest
from ros_processes import NodeProcess, client, nodes

pytestmark = pytest.mark.ros

LB, A, B, X, Y, START = 4, 0, 1, 2, 3, 7


def button(number, down):
    return struct.pack("=IhBB", 0, down, 0x01, number)


def axis(number, value):
    return struct.pack("=IhBB", 0, value, 0x02, number)


def pose(x, y=0.0, z=0.3):
    made = np.diag([1.0, -1.0, -1.0, 1.0])
    made[:3, 3] = x, y, z
    return made


class Pad:
    """A gamepad: the far end of a named pipe."""

    def __init__(self, folder):
        self.path = folder / "js0"
        os.mkfifo(self.path)
        self.plug_in()

    def plug_in(self):
        # a pipe opened to read and write does not wait for its other end
        self.descriptor = os.open(self.path, os.O_RDWR)

    def unplug(self):
        os.close(self.descriptor)

    def send(self, *events):
        os.write(self.descriptor, b"".join(events))


class Bench:
    """Arm, gripper and guard in this process; the arm goes where it is told if it `follows`."""

    def __init__(self, watcher, process):
        from geometry_msgs.msg import PoseStamped
        from rlco.nodes import topics
        from rlco.nodes.guard import STATE_QOS
        from rlco.nodes.runtime import state_qos
        from rlco_msgs.msg import GuardState
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String

        self.client, self.process, self.node = watcher, process, watcher.node
        self.where, self.follows, self.width_m = pose(0.4), True, 0.08
        self.targets, self.widths, self.events, self.sent_ns = [], [], [], []
        best_effort = state_qos(lock_step=False)
        self.pose_out = self.node.create_publisher(PoseStamped, topics.POSE, best_effort)
        self.fingers_out = self.node.create_publisher(JointState, topics.FINGERS, best_effort)
        self.state_out = self.node.create_publisher(GuardState, topics.GUARD_STATE, STATE_QOS)
        self.node.create_subscription(
            PoseStamped, topics.source_pose("teleop"), self._on_target, 10
        )
        self.node.create_subscription(
            JointState, topics.source_gripper("teleop"), self.widths.append, 10
        )
        self.node.create_subscription(
            String, topics.TELEOP_EVENT, lambda message: self.events.append(message.data), 10
        )
        self.node.create_timer(0.01, self._live)
        watcher.watch_diagnostics()

    def _on_target(self, message):
        from rlco.nodes import wire

        self.targets.append((wire.stamp_ns(message.header.stamp), wire.pose_matrix(message.pose)))
        if self.follows:
            self.where = self.targets[-1][1]

    def _live(self):
        from rlco.nodes import wire

        now_ns = self.node.get_clock().now().nanoseconds
        self.sent_ns.append(now_ns)
        self.pose_out.publish(wire.stamped_pose(self.where, now_ns))
        self.fingers_out.publish(wire.fingers(self.width_m, now_ns))

    def guard(self, source, *, stopped=False, handed_over=0):
        from rlco_msgs.msg import GuardState

        message = GuardState(source=source, stopped=stopped, reason="a test" if stopped else "")
        message.handed_over.sec = handed_over
        self.state_out.publish(message)

    def carry_to(self, where):
        """Move the arm without commands, and let teleop hear of it."""
        self.where, sent = where, len(self.sent_ns)
        self.until(lambda: len(self.sent_ns) > sent + 20, "poses")

    def until(self, done, what):
        def alive_and_done():
            assert self.process.process.poll() is None, self.process.output
            return done()

        self.client.until(alive_and_done, f"{what}; teleop says {self.process.output}")

    def until_told(self, words):
        self.until(lambda: words in self.client.statuses.get("teleop", (0, ""))[1], repr(words))

    def moves(self, count=5):
        """Forget what was heard and wait for targets."""
        self.targets.clear()
        self.until(lambda: len(self.targets) >= count, "targets")
        return [target for _, target in self.targets]


def teleop(folder, parameters, **options):
    parameters = {"lock_step": False, "rate_hz": 50.0} | parameters
    return NodeProcess("rlco.nodes.teleop", parameters, folder, **options)


def test_a_gamepad_drives_only_when_guard_and_clutch_allow(domain, tmp_path):
    pad = Pad(tmp_path)
    parameters = {"device": "gamepad", "path": str(pad.path)}
    with nodes(teleop(tmp_path, parameters)) as (process,), client() as made:
        bench = Bench(made, process)
        bench.until_told("the guard is not heard")
        bench.guard("none")
        pad.send(button(LB, 1), axis(1, -32767))
        bench.until_told("the guard lets none drive")
        assert not bench.targets
        bench.carry_to(pose(0.45, 0.1))
        bench.guard("teleop", handed_over=1)
        path = bench.moves()
        assert path[0][0, 3] >= 0.45 - 1e-6, "it must begin where the arm is"
        assert path[0][0, 3] < 0.45 + 0.25 * 0.5
        assert (np.diff([target[0, 3] for target in path]) > 0).all()
        assert {stamp for stamp, _ in bench.targets} <= set(bench.sent_ns)
        assert bench.widths[-1].position[0] == pytest.approx(0.08)
        pad.send(button(A, 1), button(A, 0))
        pad.send(button(A, 1))
        bench.until(lambda: bench.widths[-1].position[0] == 0.0, "the gripper to close")

        bench.guard("policy", handed_over=2)  # somebody else drives the arm away
        bench.until_told("the guard lets policy drive")
        bench.carry_to(pose(0.3, -0.2))
        bench.guard("teleop", handed_over=3)
        np.testing.assert_allclose(bench.moves()[0][1, 3], -0.2, atol=1e-6)

        pad.send(button(LB, 0))
        bench.until_told("clutch open")
        heard = len(bench.targets)
        pad.send(button(START, 1), button(START, 0), button(Y, 1))
        bench.until(lambda: "start" in bench.events, "the start event")
        pad.send(button(Y, 0), button(B, 1))
        bench.until(lambda: {"success", "stop"} <= set(bench.events), "events")
        assert len(bench.targets) == heard
        assert process.end(signal.SIGINT) == 0, process.output


def test_a_gamepad_that_is_unplugged_lets_the_arm_be_and_may_come_back(domain, tmp_path):
    pad = Pad(tmp_path)
    parameters = {"device": "gamepad", "path": str(pad.path)}
    with nodes(teleop(tmp_path, parameters)) as (process,), client() as made:
        bench = Bench(made, process)
        bench.guard("teleop")
        bench.until_told("clutch open")
        pad.send(button(LB, 1), axis(1, -32767))
        bench.moves()
        pad.unplug()
        bench.until_told("is gone")
        heard = len(bench.targets)
        time_ns = bench.sent_ns[-1]
        bench.until(lambda: bench.sent_ns[-1] - time_ns > 5e8, "half a second")
        assert len(bench.targets) == heard
        pad.plug_in()
        pad.send(axis(0, 0))
        bench.until_told("clutch open")
        assert len(bench.targets) == heard, "the clutch must be engaged anew"
        pad.send(button(LB, 1))
        bench.moves()
        assert process.end(signal.SIGTERM) == 0, process.output


def test_a_keyboard_in_a_terminal_drives_and_the_terminal_is_given_back(domain, tmp_path):
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with (
        nodes(teleop(tmp_path, {"device": "keyboard"}, stdin=slave)) as (process,),
        client() as made,
    ):
        bench = Bench(made, process)
        bench.guard("teleop")
        bench.until_told("driving")
        begun = bench.where[1, 3]

        def moved_left():
            os.write(master, b"a")
            return bench.where[1, 3] > begun + 0.005

        bench.until(moved_left, "the arm to go left")
        os.write(master, b"n")
        bench.until(lambda: bench.events == ["failure"], "the event")
        assert process.end(signal.SIGINT) == 0, process.output
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("parameters", "code", "told"),
    [
        ({"device": "wheel"}, 2, "'device' must be one of"),
        ({"device": "keyboard"}, 1, "needs a terminal"),
        ({"device": "keyboard", "bindings": "q=fly"}, 2, "'q=fly' is not GESTURE=ACTION"),
        ({"device": "keyboard", "bindings": "q=stop", "clutch": "hold"}, 2, "needs a button"),
    ],
)
def test_what_cannot_work_ends_with_a_reason(domain, tmp_path, parameters, code, told):
    process = teleop(tmp_path, parameters, stdin=subprocess.DEVNULL)
    with nodes(process):
        assert process.wait() == code, process.output
        assert told in process.output


def test_through_the_guard_into_a_lab_in_lock_step(domain, tmp_path):
    from rlco.nodes import wire
    from rlco_calibration.twin import demo_bench

    pad = Pad(tmp_path)
    bench = {"contract": "franka_compact", "lock_step": True, "use_sim_time": True}
    lab = NodeProcess("fake_scene", {"twin": str(demo_bench())}, tmp_path)
    guard = NodeProcess(
        "rlco.nodes.guard", bench | {"initial_source": "teleop", "listeners": 1}, tmp_path
    )
    device = {"device": "gamepad", "path": str(pad.path), "speed_m_s": 0.1, "rate_hz": 100.0}
    operator = NodeProcess("rlco.nodes.teleop", bench | device, tmp_path)
    with nodes(lab, guard, operator), client() as made:
        from geometry_msgs.msg import PoseStamped

        poses = []
        topic = "franka_robot_state_broadcaster/current_pose"
        made.node.create_subscription(
            PoseStamped, topic, lambda message: poses.append(wire.pose_matrix(message.pose)), 10
        )
        made.watch_diagnostics()
        made.until(lambda: poses, "the lab")

        def reaches(y_m):
            told = [process.output for process in (lab, guard, operator)]
            made.until(lambda: abs(poses[-1][1, 3] - y_m) < 0.01, f"y = {y_m}: {told}")

        begun = poses[-1][1, 3]
        pad.send(button(LB, 1), axis(0, -32767))
        reaches(begun + 0.05)
        pad.send(axis(0, 32767))
        reaches(begun - 0.02)
        pad.send(button(LB, 0))
        for process in (operator, guard, lab):
            assert process.end(signal.SIGINT) == 0, process.output


def test_gello_and_its_far_end_drive_the_arm(domain, tmp_path):
    pytest.importorskip("dynamixel_sdk", reason="needs make setup-tests")
    from dynamixel_chain import Chain

    chain = Chain({servo: 2048 for servo in range(1, 9)})
    parameters = {
        "device": "gello",
        "path": chain.path,
        "joint_signs": [1.0] * 7,
        "joint_offsets_rad": [np.pi, np.pi, np.pi, np.pi + 2.0, np.pi, np.pi - 2.0, np.pi],
        "trigger_open_rad": 3.5,
        "trigger_closed_rad": 2.5,
        "rate_hz": 20.0,
    }
    try:
        with nodes(teleop(tmp_path, parameters)) as (process,), client() as made:
            bench = Bench(made, process)
            bench.guard("teleop")
            np.testing.assert_allclose(bench.moves()[-1], pose(0.4), atol=1e-5)
            chain.put(1, 2048 + 114)  # ten degrees about the base
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline and abs(bench.moves(1)[-1][1, 3]) < 0.02:
                pass
            bench.until(lambda: bench.where[1, 3] > 0.05, "the arm to swing left")
            turned = np.degrees(np.arctan2(bench.where[1, 0], bench.where[0, 0]))
            assert 0 < turned < 10.5
            chain.put(8, 1500)
            bench.until(lambda: bench.widths[-1].position[0] < 0.05, "the gripper to close")
            assert process.end(signal.SIGINT) == 0, process.output
    finally:
        chain.close()
