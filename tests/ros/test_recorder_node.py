"""The recorder as a process: silence, full disks, signals in mid-episode."""

import os
import resource
import signal

import pytest
from ros_processes import NodeProcess, children_of, client, nodes

pytestmark = pytest.mark.ros


@pytest.fixture
def bench(domain, tmp_path):
    """A fake bench, and a client that commands it."""
    from rlco_calibration.twin import demo_bench

    lab = NodeProcess("fake_scene", {"twin": str(demo_bench())}, tmp_path)
    with nodes(lab), client() as made:
        yield Commands(made, lab)


class Commands:
    """Commands the bench for some steps."""

    def __init__(self, client, lab):
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import JointState

        self.client, self.lab = client, lab
        self.pose = self.last = None
        self.answered_ns = 0
        node = client.node
        self.pose_out = node.create_publisher(PoseStamped, "target_pose", 10)
        self.gripper_out = node.create_publisher(JointState, "gripper/target", 10)
        topic = "franka_robot_state_broadcaster/current_pose"
        node.create_subscription(PoseStamped, topic, self._on_pose, 10)

    def _on_pose(self, message):
        from rlco.nodes import wire

        stamp_ns = wire.stamp_ns(message.header.stamp)
        if stamp_ns > self.answered_ns:  # the bench repeats itself while it waits
            self.pose = message

    def listeners(self):
        return min(out.get_subscription_count() for out in (self.pose_out, self.gripper_out))

    def steps(self, count):
        from rlco.nodes import wire

        for _ in range(count):
            self.client.until(lambda: self.pose is not None, "an observation")
            message, self.pose = self.pose, None
            message.pose.position.x += 0.001
            self.pose_out.publish(message)
            stamp = wire.stamp_ns(message.header.stamp)
            self.gripper_out.publish(wire.gripper_target(0.08, stamp))
            self.answered_ns = stamp
            self.last = message.header.stamp
        self.client.until(lambda: self.pose is not None, "an observation")

    def start(self, **changes):
        from rlco_msgs.srv import StartEpisode

        request = StartEpisode.Request(
            task="pick_and_place", instruction="go", source="real", operator_name="test"
        )
        if self.pose is not None:  # commands for earlier steps may still be on their way
            request.not_before = self.pose.header.stamp
        for name, value in changes.items():
            setattr(request, name, value)
        return self.client.call(StartEpisode, "recorder/start", request)

    def stop(self, outcome="success"):
        from rlco_msgs.srv import StopEpisode

        request = StopEpisode.Request(outcome=outcome)
        if self.last is not None:  # the last command may still be on its way
            request.last_step, self.last = self.last, None
        return self.client.call(StopEpisode, "recorder/stop", request)

    def until_recording(self):
        self.client.until(lambda: self.listeners() >= 2, "the recorder to listen")
        self.client.until(lambda: self.start().success, "the recorder to start")


def recorder(tmp_path, silence_s=20.0, preexec=None, **parameters):
    parameters = {"store": str(tmp_path / "store"), "silence_s": silence_s} | parameters
    return NodeProcess("rlco.nodes.recorder", parameters, tmp_path, preexec=preexec)


def committed(tmp_path):
    from rlco_datasets.store import EpisodeStore

    store = EpisodeStore.open(tmp_path / "store")
    assert store.tail is None
    return store.lengths.tolist()


def test_a_session_with_every_outcome_and_a_signal_in_mid_episode(bench, tmp_path):
    with nodes(recorder(tmp_path)) as (process,):
        bench.until_recording()
        assert "cannot start while recording" in bench.start().message
        assert "outcome must be one of" in bench.stop("perhaps").message
        bench.steps(5)
        reply = bench.stop()
        assert (reply.success, reply.episode, reply.steps) == (True, 0, 5), reply.message
        assert "cannot stop while idle" in bench.stop().message
        assert "source must be real or sim" in bench.start(source="dream").message
        assert bench.start().success
        bench.steps(3)
        assert bench.stop("discard").success
        assert bench.start().success
        without_commands = bench.stop("failure")
        assert "nothing was received on gripper/target, target_pose" in without_commands.message
        assert bench.start().success
        bench.steps(4)
        assert bench.stop("failure").episode == 1
        assert bench.start().success
        bench.steps(3)
        assert process.end(signal.SIGTERM) == 0
        assert "stopped in mid-episode" in process.output
    assert committed(tmp_path) == [5, 4]


def test_it_refuses_to_start_on_a_silent_topic_and_names_it(bench, tmp_path):
    with nodes(recorder(tmp_path, silence_s=2.0)) as (process,):
        bench.until_recording()
        assert bench.stop("discard").success
        assert bench.lab.end(signal.SIGINT) == 0

        def refused_for_silence():  # one topic after the other counts as silent
            reply = bench.start()
            if reply.success:
                bench.stop("discard")
            return "cameras/third_person/image_raw (last heard" in reply.message

        bench.client.until(refused_for_silence, "the camera to count as silent")
        assert process.end(signal.SIGINT) == 0


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))


def test_a_full_disk_is_told_and_costs_only_that_episode(bench, tmp_path):
    with nodes(recorder(tmp_path)) as (process,):
        bench.until_recording()
        bench.steps(5)
        assert bench.stop().success
        assert process.end() == 0
    bench.client.watch_diagnostics()
    with nodes(recorder(tmp_path, preexec=limit_file_size)) as (process,):
        bench.until_recording()
        bench.steps(4)
        reply = bench.stop()
        assert not reply.success
        assert "file size limit is reached: free" in reply.message
        bench.client.until(lambda: bench.client.statuses["recorder"][0] == 2, "diagnostics")
        assert "not recorded" in bench.client.statuses["recorder"][1]
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        (writer,) = children_of(process.process.pid)
        resource.prlimit(writer, resource.RLIMIT_FSIZE, unlimited)
        assert bench.start().success
        bench.steps(2)
        assert bench.stop().success
        assert process.end() == 0
    assert committed(tmp_path) == [5, 2]


def test_little_free_space_is_refused_before_an_episode(bench, tmp_path):
    parameters = {"store": str(tmp_path / "store"), "minimum_free_mb": 10**9}
    with nodes(NodeProcess("rlco.nodes.recorder", parameters, tmp_path)) as (process,):
        bench.client.until(lambda: "MB free at" in bench.start().message, "the refusal")
        assert process.end() == 0


class Console:
    """The keys, the services and the state of a recorder, as a console uses them."""

    def __init__(self, bench):
        from rlco.nodes.recorder_state import STATE_QOS
        from rlco_msgs.msg import RecorderState
        from std_msgs.msg import String

        self.client, self.state = bench.client, None
        node = self.client.node
        self._event_out = node.create_publisher(String, "teleop/event", 10)
        node.create_subscription(
            RecorderState, "recorder/state", lambda m: setattr(self, "state", m), STATE_QOS
        )

    def press(self, key):
        from std_msgs.msg import String

        self.client.until(lambda: self._event_out.get_subscription_count() > 0, "the recorder")
        self._event_out.publish(String(data=key))

    def trigger(self, word):
        from std_srvs.srv import Trigger

        return self.client.call(Trigger, f"recorder/{word}", Trigger.Request())

    def until(self, state):
        self.client.until(
            lambda: self.state is not None and self.state.state == state,
            f"the recorder to be {state}; it is {self.state}",
        )

    def change(self, transition):
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        return self.client.call(ChangeState, "recorder/change_state", request).success


TOLD = {"task": "pick_and_place", "instruction": "go", "operator_name": "ada"}


def test_a_session_by_keys_with_redo_reset_and_an_end(bench, tmp_path):
    console = Console(bench)
    session = TOLD | {"session": "monday", "episodes": 2, "reset_s": 600.0}
    with nodes(recorder(tmp_path, **session)) as (process,):
        bench.client.until(lambda: bench.listeners() >= 2, "the recorder to listen")
        console.until("idle")
        bench.client.until(
            lambda: not any(stream.silent for stream in console.state.streams), "every stream"
        )
        console.press("start")
        console.until("recording")
        bench.steps(3)
        console.press("redo")
        console.until("resetting")
        assert console.state.remaining_s > 100
        console.press("start")  # ends the reset phase early
        console.until("recording")
        bench.steps(4)
        console.press("success")
        console.until("resetting")
        assert (console.state.committed, console.state.wanted) == (1, 2)
        bench.client.until(lambda: console.state.streams[0].rate_hz > 0, "a rate")
        assert console.state.streams[0].name == "franka_robot_state_broadcaster/current_pose"
        assert console.trigger("failure").message.startswith("cannot stop while resetting")
        assert process.end(signal.SIGTERM) == 0
    console.state = None
    bench.client.until(lambda: bench.listeners() < 2, "the first recorder to be gone")
    with nodes(recorder(tmp_path, **session)) as (process,):  # the session goes on
        bench.client.until(lambda: bench.listeners() >= 2, "the recorder to listen")
        console.until("idle")
        assert console.state.committed == 1
        bench.until_recording()
        bench.steps(2)
        assert "episode 1, " in console.trigger("success").message
        assert process.wait() == 0
        assert "session complete: 2 episodes" in process.output
    from rlco_datasets.store import EpisodeStore

    store = EpisodeStore.open(tmp_path / "store")
    assert [store.metadata(i).operator for i in range(2)] == ["ada", "test"]
    assert {store.metadata(i).extra["session"] for i in range(2)} == {"monday"}


def test_it_has_a_lifecycle_and_survives_its_writing_process(bench, tmp_path):
    console = Console(bench)
    with nodes(recorder(tmp_path, autostart=False)) as (process,):
        bench.client.until(lambda: "not active" in bench.start().message, "the refusal")
        assert console.change("configure")
        assert console.change("activate")
        bench.until_recording()
        bench.steps(3)
        (writer,) = children_of(process.process.pid)
        os.kill(writer, signal.SIGKILL)
        assert "writing process ended" in bench.stop().message
        bench.client.until(lambda: bench.start().success, "a new writing process")
        bench.steps(2)
        assert bench.stop().episode == 0
        assert bench.start().success
        assert console.change("deactivate")
        console.until("inactive")
        assert console.change("cleanup")
        assert children_of(process.process.pid) == []
        assert console.change("configure")
        assert console.change("activate")
        bench.until_recording()
        bench.steps(2)
        assert bench.stop().episode == 1
        assert process.end() == 0
    assert committed(tmp_path) == [2, 2]


def test_a_slow_stream_is_refused_by_its_rate(bench, tmp_path):
    """By the wall clock; the waiting bench repeats old observations, so its rate is zero or low."""
    from geometry_msgs.msg import PoseStamped
    from rlco.nodes import wire
    from rlco.nodes.runtime import state_qos

    topic = "franka_robot_state_broadcaster/current_pose"
    out = bench.client.node.create_publisher(PoseStamped, topic, state_qos(lock_step=False))
    with nodes(recorder(tmp_path, lock_step=False)) as (process,):
        refusals = []

        def refused():
            if bench.pose is not None:
                bench.pose.header.stamp = wire.time_message(10**12 + 200_000_000 * len(refusals))
                out.publish(bench.pose)  # 5 Hz by its stamps
            reply = bench.start()
            refusals.append(reply.message)
            if reply.success:
                bench.stop("discard")
            return "slow topics" in reply.message

        bench.client.until(refused, "the refusal of a slow stream")
        assert f"{topic} (5.0 of 10.0 Hz)" in refusals[-1]
        assert process.end() == 0
