"""A bench whose robot is a simulated one: guard, arm driver and sources as processes."""

import contextlib
import signal
import time

from fci_peers import BENCH, CONTROLLER, first
from ros_processes import TIMEOUT_S, NodeProcess

# As on a robot but for the state: a busy machine may delay that.
GUARD = {
    "lock_step": False,
    "arm_status": True,
    "robot": "fr3",
    "listeners": 0,
    "max_state_age_s": 0.5,
    "workspace_low_m": [0.1, -0.6, 0.0],
    "workspace_high_m": [1.0, 0.6, 1.2],
}
REPEAT_S = 3.0
DRIVE_S = 60.0


class Rig:
    """The processes by name, and the client that watches them."""

    def __init__(self, watcher, robot, folder):
        from geometry_msgs.msg import PoseStamped
        from rlco.nodes import topics, wire
        from rlco.nodes.guard import STATE_QOS
        from rlco.nodes.runtime import state_qos
        from rlco_msgs.msg import ArmStatus, GuardState

        self.client, self.robot, self.folder = watcher, robot, folder
        self.processes = {}
        self.state = self.status = self.pose = None
        self.asked_s = 0.0
        self._target = None
        node, best_effort = watcher.node, state_qos(lock_step=False)
        watcher.watch_diagnostics()
        node.create_subscription(
            GuardState, topics.GUARD_STATE, lambda m: setattr(self, "state", m), STATE_QOS
        )
        node.create_subscription(
            ArmStatus, topics.ARM_STATUS, lambda m: setattr(self, "status", m), 10
        )
        node.create_subscription(
            PoseStamped,
            topics.POSE,
            lambda m: setattr(self, "pose", wire.pose_matrix(m.pose)),
            best_effort,
        )
        asked = topics.source_pose("policy")
        node.create_subscription(PoseStamped, asked, self._on_target, 10)

    def _on_target(self, message):
        if self._target != message.pose:
            self._target, self.asked_s = message.pose, time.monotonic()

    def start(self, name, module, parameters, priority=BENCH):
        made = NodeProcess(module, parameters, self.folder, name=name, preexec=first(priority))
        self.processes[name] = made
        return made

    def start_guard(self, **changes):
        return self.start("guard", "rlco.nodes.guard", GUARD | changes)

    def start_arm(self, **changes):
        parameters = {
            "driver": "fci",
            "address": self.robot.address,
            "state_rate_hz": 50.0,
            "motion": "impedance",  # planned ones cost franka-sim over a millisecond a cycle
        }
        return self.start("arm", "rlco.nodes.arm", parameters | changes, CONTROLLER)

    def start_gripper(self):
        parameters = {"driver": "fci", "address": self.robot.address}
        return self.start("gripper", "rlco.nodes.gripper", parameters)

    def start_source(self, source):
        return self.start(source, "fake_source", {"source": source})

    def start_policy(self, url):
        parameters = {"server": url, "lock_step": False, "timeout_s": 1.0}
        limits = {key: GUARD[key] for key in ("workspace_low_m", "workspace_high_m")}
        return self.start("policy", "rlco.nodes.policy", parameters | limits)

    def start_camera(self):
        return self.start("camera", "fake_source", {"camera": "third_person"})

    @property
    def output(self):
        return "".join(f"--- {name}\n{item.output}" for name, item in self.processes.items())

    def until(self, done, what, timeout_s=TIMEOUT_S):
        def checked():
            ended = [n for n, item in self.processes.items() if item.process.poll() is not None]
            assert not ended, f"{ended} ended while waiting for {what}: {self.output}"
            return done()

        try:
            self.client.until(checked, what, timeout_s)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\nguard: {self.state}\narm: {self.status}\n{self.output}"
            ) from None

    def call(self, kind, name, request):
        """Call a service, again where no answer came: one may be lost during discovery."""
        client = self.client.node.create_client(kind, name)
        self.until(client.service_is_ready, f"service {name}")
        futures = []
        asked_s = 0.0

        def answered():
            nonlocal asked_s
            if time.monotonic() - asked_s > REPEAT_S:
                futures.append(client.call_async(request))
                asked_s = time.monotonic()
            return any(future.done() for future in futures)

        self.until(answered, f"an answer of {name}")
        self.client.node.destroy_client(client)
        return next(future.result() for future in futures if future.done())

    def trigger(self, name):
        from std_srvs.srv import Trigger

        return self.call(Trigger, name, Trigger.Request())

    def select(self, source):
        from rlco_msgs.srv import SelectSource

        request = SelectSource.Request(source=source)
        return self.call(SelectSource, "guard/select", request).success

    def until_ready(self):
        """Wait for an arm that can be driven; recover and resume if need be."""
        self.until(lambda: self.status is not None and self.state is not None, "arm and guard")

        def ready():
            if self.status.mode not in ("idle", "move"):
                self.trigger("arm/recover")
                self.spin(0.2)
            return self.trigger("guard/resume").success

        self.until(ready, "resuming")

    def until_driving(self, source):
        """Hand over to `source` and wait until the robot itself moves."""

        def driving():
            self.until_ready()
            if not self.select(source):
                return False
            return self.moves_within(1.5)

        self.until_driven(driving)

    def until_driven(self, driving):
        """Try until `driving()`; on a machine on which no robot can be driven, skip the test."""
        try:
            self.until(driving, "the robot to be driven", timeout_s=DRIVE_S)
        except AssertionError:
            self.robot.need_its_pace()
            raise

    def moves_within(self, seconds):
        """Whether the robot moves, unstopped, before so long."""
        end_s = time.monotonic() + seconds
        while not self.state.stopped and time.monotonic() < end_s:
            self.spin(0.05)
            if self.robot.moving():
                return True
        return False

    def spin(self, seconds):
        until_s = time.monotonic() + seconds
        self.client.until(lambda: time.monotonic() >= until_s)

    def until_stopped(self, text):
        self.until(lambda: self.state.stopped and text in self.state.reason, f"a stop for {text!r}")

    def kill(self, name):
        """SIGKILL a process in mid-motion; return when (time.monotonic)."""
        item = self.processes.pop(name)
        self.until(self.robot.moving, "the robot to be in motion")
        item.process.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        item.process.wait()
        return killed_s

    def stop_time_s(self, fault_s):
        """How long after `fault_s` the robot moved; waits until it is over."""
        self.spin(1.0)
        return self.robot.stop_time_s(fault_s)

    def close(self):
        for item in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                item.process.kill()
            item.process.wait()
