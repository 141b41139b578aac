"""The policy node by the wall clock against the real policy server: keys, chunks, lifecycle."""

import subprocess
import sys

import pytest
from fakes.processes import server_process
from ros_processes import NodeProcess, client, nodes

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ERROR = 2
ATTEMPTS = 5
WALL = {"lock_step": False, "silence_s": 60.0}
LIMITS = {  # an untrained policy, and a busy machine: neither is a failure here
    "max_step_m": 0.05,
    "max_step_rad": 0.2,
    "max_speed_m_s": 3.0,
    "max_speed_rad_s": 2.5,
    "max_deviation_m": 0.5,
    "max_deviation_rad": 2.0,
    "max_command_age_s": 10.0,
    "max_state_age_s": 10.0,
    "max_camera_age_s": 10.0,
    "initial_source": "policy",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that asks for a key: alias flow continues chunks, alias compact cannot."""
    from rlco_datasets.contract import franka_compact
    from rlco_trainer.untrained import write_untrained

    folder = tmp_path_factory.mktemp("served")
    serve = ("-m", "rlco_policy_server.cli")
    keys = ("--keys", str(folder / "keys.yaml"))
    made = subprocess.run(
        [sys.executable, *serve, "key", *keys, "--name", "bench-1", "--role", "infer"],
        capture_output=True,
        text=True,
        check=True,
    )
    checkpoints = []
    for alias, preset in (("flow", "pi05-tiny"), ("compact", "compact")):
        write_untrained(preset, franka_compact(), folder / alias, 0)
        checkpoints += ["--checkpoint", f"{alias}={folder / alias}"]
    ready = folder / "ready.json"
    options = (*checkpoints, *keys, "--port", "0", "--ready-file", str(ready))
    with server_process(*serve, *options, ready_file=ready) as (url, _):
        yield url, made.stdout.split()[-1]


@pytest.fixture(scope="module")
def bench(domain, tmp_path_factory):
    from rlco_calibration.twin import demo_bench

    folder = tmp_path_factory.mktemp("bench")
    lab = NodeProcess("fake_scene", {"twin": str(demo_bench()), **WALL}, folder)
    guard = NodeProcess("rlco.nodes.guard", LIMITS | WALL, folder)
    with nodes(lab, guard), client() as watcher:
        watcher.watch_diagnostics()
        yield Bench(watcher, folder)
        assert [item.process.poll() for item in (lab, guard)] == [None, None], guard.output


class Bench:
    """What the guard lets through, and a policy node to talk to."""

    def __init__(self, client, folder):
        from geometry_msgs.msg import PoseStamped

        self.client, self.folder, self.commands = client, folder, []
        client.node.create_subscription(PoseStamped, "target_pose", self.commands.append, 10)

    def policy(self, url, **parameters):
        given = {"server": url, "timeout_s": 60.0, "lead_steps": 2} | WALL | parameters
        self.client.statuses.clear()
        return NodeProcess("rlco.nodes.policy", given, self.folder)

    def trigger(self, word):
        from std_srvs.srv import Trigger

        return self.client.call(Trigger, f"policy/{word}", Trigger.Request())

    def drive(self, policy):
        """Start, once everything is heard, with the operator's word that the guard lets through."""
        from rlco_msgs.srv import SelectSource, StartPolicy
        from std_srvs.srv import Trigger

        self.client.until(lambda: self.trigger("check").success, "the policy to be ready")
        self.client.call(Trigger, "guard/resume", Trigger.Request())
        select = SelectSource.Request(source="policy")
        self.client.until(
            lambda: self.client.call(SelectSource, "guard/select", select).success, "the hand-over"
        )
        self.client.until(lambda: not self.is_stopped(), "word of it")
        self.commands.clear()
        request = StartPolicy.Request(policy=policy, instruction="go", session=policy)
        started = self.client.call(StartPolicy, "policy/start", request)
        assert started.success, started.message

    def is_stopped(self):
        """Whether the guard's last word was a stop, or there was none yet."""
        return self.client.statuses.get("guard", (ERROR, ""))[0] == ERROR

    def commands_of(self, policy):
        """Drive until two seconds of commands have come, and return what the policy's stop says.

        An untrained policy turns ever on, so steps that a busy machine loses add up to a jump,
        which the guard is there to stop: drive again then, from where the arm is.
        """
        for _ in range(ATTEMPTS):
            self.drive(policy)
            self.client.until(
                lambda: len(self.commands) > 25 or self.is_stopped(),
                "two seconds of commands",
            )
            stopped = self.trigger("stop")
            assert stopped.success, stopped.message
            if len(self.commands) > 25:
                return stopped.message
        raise AssertionError(f"stopped each time; {self.client.statuses}")

    def until_error(self, text):
        self.client.until(
            lambda: (
                self.client.statuses.get("policy", (0, ""))[0] == ERROR
                and text in self.client.statuses["policy"][1]
            ),
            f"an error with {text!r}",
        )

    def change(self, transition):
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        return self.client.call(ChangeState, "policy/change_state", request).success


def answered(message):
    """How many answers of the server were executed, by the node's last words."""
    assert "observation to command p50" in message
    steps, _, rest = message.partition(" steps, ")
    return int(steps) - int(rest.partition(" of them held")[0])


@pytest.mark.parametrize("blending", ["rtc", "ensemble"])
def test_a_flow_policy_drives_by_the_wall_clock(bench, served, monkeypatch, blending):
    url, key = served
    monkeypatch.setenv("RLCO_API_KEY", key)
    with nodes(bench.policy(url, blending=blending)) as (process,):
        assert answered(bench.commands_of("flow")) > 0
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in bench.commands]
        period_ns = 100_000_000
        assert {(stamp - stamps[0]) % period_ns for stamp in stamps} == {0}
        if blending == "rtc":  # what is under way reached the server: this policy cannot use it
            bench.drive("compact")
            bench.until_error("cannot continue a chunk")
        assert process.end() == 0
    assert key not in process.output


def test_it_has_a_lifecycle_and_needs_the_servers_key(bench, served, tmp_path):
    url, key = served
    with nodes(bench.policy(url)) as (process,):
        bench.client.until(
            lambda: "No API key was sent" in bench.trigger("check").message, "the refusal"
        )
        assert process.end() == 0
    path = tmp_path / "key"
    path.write_text(f"{key}\n")
    with nodes(bench.policy(url, api_key_file=str(path), autostart=False)) as (process,):
        assert "ros2 lifecycle set policy activate" in bench.trigger("check").message
        assert bench.change("configure")
        assert bench.change("activate")
        bench.drive("flow")
        assert bench.change("deactivate")
        bench.until_error("stopped, the arm holds its last target: deactivated")
        assert "not active" in bench.trigger("check").message
        assert bench.change("activate")
        bench.drive("flow")
        assert bench.trigger("stop").success
        assert process.end() == 0
    assert key not in process.output
