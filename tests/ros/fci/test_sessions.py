"""Whole sessions on a Franka: collect and evaluate through the fci driver, from one bench file.

The robot is simulated behind the real FCI protocol (franky-sim: physics and contact; franka-sim:
strict, with reflexes), the camera is a recording played through the ordinary RealSense pipeline;
everything between is what a lab runs, started by `rlco-up`.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fci_peers import CONTROLLER as ARM_PRIORITY
from fci_peers import first, peer
from realsense_recording import record
from rlco_datasets.contract import franka_compact
from ros_processes import TIMEOUT_S, children_of, client
from ros_studies import write_study
from scripted_server import ScriptedServer

pytestmark = [pytest.mark.ros, pytest.mark.slow]
CONTRACT = franka_compact()
PERIOD_S = 0.05
STEP_M, LEASH_M = 0.005, 0.04
PATIENCE_S = 2.0
"""A person waits so long before pressing a key again."""
ATTEMPTS = 5
"""A busy machine delays the state; the recorder then refuses the episode, as it must."""
# As on a real bench, but for the times: a busy test machine may delay anything.
BENCH = """
name: fci
contract: franka_compact
silence_s: 30.0
arm: {{driver: fci, address: {address}, command_timeout_s: 10.0, guard_timeout_s: 10.0}}
gripper: {{driver: fci, address: {address}}}
cameras:
- {{name: third_person, driver: realsense, recording: {recording}, width: 320, height: 240,
   exposure: auto}}
guard:
  robot: fr3
  workspace_low_m: [0.1, -0.6, 0.0]
  workspace_high_m: [1.0, 0.6, 1.2]
  max_command_age_s: 10.0
  max_state_age_s: 10.0
  max_camera_age_s: 10.0
recorder: {{raw_bag: true}}
policy: {{timeout_s: 30.0, lead_steps: 2}}
scene: {{cues: none, arm_tolerance_m: 0.5}}  # the arm begins where it is
"""


@pytest.fixture(scope="module", params=["physics", "strict"])
def robot(request, domain, tmp_path_factory):
    pytest.importorskip("franky", reason="needs franky-control (make setup-tests)")
    with peer(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def bench(robot, tmp_path_factory):
    pytest.importorskip("pyrealsense2", reason="needs pyrealsense2 (make setup-tests)")
    folder = tmp_path_factory.mktemp("bench")
    record(folder / "camera.db3", width=320, height=240)
    path = folder / "bench.yaml"
    path.write_text(BENCH.format(address=robot.address, recording="camera.db3"))
    return path


class Up:
    """`rlco-up`, its output collected."""

    def __init__(self, graph, **values):
        words = [f"{key}:={value}" for key, value in values.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlco.up", graph, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def __enter__(self):
        return self

    def let_the_arm_go_first(self):
        """Give the arm driver the priority that it has on a robot's PC; wait until it is there."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            for pid in children_of(self.process.pid):
                command = Path(f"/proc/{pid}/cmdline").read_text()
                if "rlco.nodes.arm" in command and "--params-file" in command:
                    for task in Path(f"/proc/{pid}/task").iterdir():
                        first(ARM_PRIORITY, int(task.name))()
                    return
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None, self.output
            time.sleep(0.05)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(TIMEOUT_S)

    @property
    def output(self):
        self._reader.join(0.1)
        return "".join(self.lines)


class Lab:
    """The person in the lab: sees the arm and the recorder, holds the device and the console."""

    def __init__(self, watcher, up, robot):
        from geometry_msgs.msg import PoseStamped
        from rlco.nodes import topics, wire
        from rlco.nodes.guard import STATE_QOS
        from rlco.nodes.runtime import state_qos
        from rlco_msgs.msg import GuardState, RecorderState
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String

        self.client, self.up, self.robot, self._wire = watcher, up, robot, wire
        self.pose = self.guard = self.recorder = self.width_m = None
        node, best_effort = watcher.node, state_qos(lock_step=False)
        self._pose_out = node.create_publisher(PoseStamped, "teleop/target_pose", 10)
        self._gripper_out = node.create_publisher(JointState, "teleop/gripper_target", 10)
        self._event_out = node.create_publisher(String, "teleop/event", 10)
        for kind, topic, name, parse, qos in (
            (PoseStamped, topics.POSE, "pose", lambda m: wire.pose_matrix(m.pose), best_effort),
            (JointState, topics.FINGERS, "width_m", wire.finger_width_m, best_effort),
            (GuardState, "guard/state", "guard", lambda m: m, STATE_QOS),
            (RecorderState, "recorder/state", "recorder", lambda m: m, STATE_QOS),
        ):
            node.create_subscription(kind, topic, self._keep(name, parse), qos)

    def _keep(self, name, parse):
        return lambda message: setattr(self, name, parse(message))

    def until(self, done, what):
        def checked():
            if done():
                return True
            assert self.up.process.poll() is None, f"ended before {what}:\n{self.up.output}"
            assert self.guard is None or not self.guard.stopped, self.guard.reason
            return False

        try:
            self.client.until(checked, what)
        except AssertionError as error:
            self.robot.need_its_pace()
            raise AssertionError(
                f"{error}\n{self.guard}\n{self.recorder}\n{self.up.output}"
            ) from None

    def press(self, key, heard, what):
        """Press a key until it was heard."""
        from std_msgs.msg import String

        pressed_s = 0.0

        def told():
            nonlocal pressed_s
            if not heard() and time.monotonic() - pressed_s > PATIENCE_S:
                self._event_out.publish(String(data=key))
                pressed_s = time.monotonic()
            return heard()

        self.until(lambda: self._event_out.get_subscription_count() > 0, "ears for the keys")
        self.until(told, what)

    def is_recording(self):
        return self.recorder is not None and self.recorder.state == "recording"

    def ends_with(self, key):
        """Press a key that ends the episode; return whether that was the session's last one."""
        from std_msgs.msg import String

        self._event_out.publish(String(data=key))

        def told():
            refused = self.recorder.state == "idle" and "not recorded" in self.recorder.message
            return self.up.process.poll() is not None or refused

        self.client.until(told, f"the episode to end; {self.recorder}")
        return self.up.process.poll() is not None

    def hold(self, target, width_m):
        """Send a target now, and live through one period of the device."""
        stamp_ns = self.client.node.get_clock().now().nanoseconds
        self._pose_out.publish(self._wire.stamped_pose(target, stamp_ns))
        self._gripper_out.publish(self._wire.gripper_target(width_m, stamp_ns))
        end_s = time.monotonic() + PERIOD_S
        self.until(lambda: time.monotonic() >= end_s, "the next period")

    def go(self, target, position_m, width_m, *, near_m=0.015):
        """Lead the arm on a line to a position, waiting where it lags; return the last target."""
        target = target.copy()
        while (left := np.linalg.norm(position_m - target[:3, 3])) > 1e-6:
            if np.linalg.norm(target[:3, 3] - self.pose[:3, 3]) < LEASH_M:
                target[:3, 3] += min(1.0, STEP_M / left) * (position_m - target[:3, 3])
            self.hold(target, width_m)
        self.wait(target, width_m, lambda: np.linalg.norm(self.pose[:3, 3] - position_m) < near_m)
        return target

    def wait(self, target, width_m, done):
        """Keep holding until something is so."""
        deadline = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < deadline, (
                f"the arm is at {self.pose[:3, 3]}: {self.up.output}"
            )
            self.hold(target, width_m)


def test_a_session_of_demonstrations(robot, bench, tmp_path):
    from rlco.nodes.raw_bag import raw_folder
    from rlco_datasets.check import check_store
    from rlco_datasets.store import EpisodeStore

    path = tmp_path / "demos.zarr"
    values = {"bench": bench, "store": path, "episodes": 1, "operator": "ada", "session": "one"}
    with Up("collect", **values) as up, client() as watcher:
        up.let_the_arm_go_first()
        lab = Lab(watcher, up, robot)
        lab.until(
            lambda: (
                lab.pose is not None
                and lab.width_m is not None
                and lab.guard is not None
                and lab.guard.source == "teleop"
                and lab.recorder is not None
                and lab.recorder.state == "idle"
                and not any(stream.silent or stream.slow for stream in lab.recorder.streams)
            ),
            "a bench that is ready",
        )
        start = lab.pose.copy()
        lab.hold(start, 0.08)
        for _ in range(ATTEMPTS):
            lab.press("start", lab.is_recording, "the recorder to record")
            target = lab.go(start, start[:3, 3] + [0.0, 0.06, -0.04], 0.08)
            lab.wait(target, 0.02, lambda: lab.width_m < 0.05)
            seen_s = time.monotonic() + 0.3  # a few steps of the contract
            lab.wait(target, 0.02, lambda seen_s=seen_s: time.monotonic() > seen_s)
            if lab.ends_with("success"):
                break
            target = lab.go(target, start[:3, 3], 0.08)
            lab.wait(target, 0.08, lambda: lab.width_m > 0.07)
        watcher.until(lambda: up.process.poll() is not None, f"the end; {lab.recorder}")
        assert up.process.returncode == 0, up.output
    store = EpisodeStore.open(path, contract=CONTRACT)
    metadata, episode = store.metadata(0), store.episode(0)
    assert (metadata.operator, metadata.task) == ("ada", "pick_and_place")
    assert metadata.extra["session"] == "one"
    assert "samples_dropped" not in metadata.flags
    assert len(episode) >= 7  # 72 mm, no faster than the device leads
    moved = np.abs(np.diff(episode.state[:, :3], axis=0)).sum()
    commanded = np.abs(episode.actions[:, :3]).sum()
    assert 0.5 < moved / commanded < 1.5
    assert episode.state[-1, 9] < 0.07 < episode.state[0, 9]
    assert episode.extras["operator_target"].shape == (len(episode), 7)
    assert len({image.tobytes() for image in episode.images["third_person"]}) > 5
    assert [item.name for item in raw_folder(path).iterdir()] == ["000000"]
    assert not [finding for finding in check_store(path) if finding.severity == "error"]


def test_a_study_of_a_served_policy(robot, bench, tmp_path):
    from rlco.nodes import topics
    from rlco.nodes.scene import PROMPT_QOS
    from rlco_evaluation.ledger import Ledger
    from std_msgs.msg import String

    study = write_study(
        tmp_path / "study.yaml",
        CONTRACT,
        solved_after=(None,),
        time_limit_s=3.0,
        start_m=(0.55, 0.0, 0.6),  # about where the simulated robots stand
    )
    server = ScriptedServer(CONTRACT).start()
    with (
        Up(
            "eval",
            bench=bench,
            study=tmp_path / "study.yaml",
            ledger=tmp_path / "ledger.jsonl",
            server=server.url,
            frames=tmp_path / "frames",
        ) as up,
        client() as watcher,
    ):
        up.let_the_arm_go_first()
        lab = Lab(watcher, up, robot)
        prompts = []
        watcher.node.create_subscription(
            String, topics.SCENE_PROMPT, lambda m: prompts.append(m.data), PROMPT_QOS
        )
        lab.until(
            lambda: lab.pose is not None and lab.guard is not None and prompts,
            "the prompt to lay out the scene",
        )
        assert "put the cube at" in prompts[0]
        begun_s = time.monotonic()
        lab.press(
            "start",
            lambda: lab.guard.source == "policy" or up.process.poll() is not None,
            f"the first trial; {prompts}",
        )
        watcher.until(lambda: up.process.poll() is not None, "the study to end")
        assert up.process.returncode == 0, up.output
    server.stop()
    (record_,) = Ledger.open(tmp_path / "ledger.jsonl", study).trials
    assert (record_.status, record_.success) == ("done", False), record_
    assert record_.policy_id == "A"
    joints_rad = np.array([row["q"] for row in robot.trace(begun_s)])
    # 1 mm a step, and a busy machine misses steps; at rest these joints move less than 1e-6 rad
    assert np.ptp(joints_rad[:, :6], axis=0).max() > 0.002
    assert "observation to command p50" in up.output
