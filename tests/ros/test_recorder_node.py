"""The recorder as a process: silence, full disks, signals in mid-episode."""

import resource
import signal

import pytest
from ros_processes import NodeProcess, client, nodes

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


def recorder(tmp_path, silence_s=20.0, **options):
    parameters = {"store": str(tmp_path / "store"), "silence_s": silence_s}
    return NodeProcess("rlco.nodes.recorder", parameters, tmp_path, **options)


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
        refused = []

        def silent():
            reply = bench.start()
            refused.append(reply.message)
            if reply.success:
                bench.stop("discard")
            return not reply.success

        bench.client.until(silent, "the topics to count as silent")
        assert "cameras/third_person/image_raw (last heard" in refused[-1]
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
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, unlimited)
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
