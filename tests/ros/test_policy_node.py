"""The policy node against a bench and a server that fail, as processes over DDS and HTTP."""

import signal

import pytest
from ros_processes import NodeProcess, client, nodes
from scripted_server import ScriptedServer

pytestmark = pytest.mark.ros

ERROR = 2


class Rig:
    """A fake bench, a policy node and a guard, a server, and a client that watches them."""

    def __init__(self, client, lab, policy, server):
        self.client, self.lab, self.policy, self.server = client, lab, policy, server

    def start(self, session):
        from rlco_msgs.srv import StartPolicy

        request = StartPolicy.Request(policy="A", instruction="go", session=session)
        return self.client.call(StartPolicy, "policy/start", request)

    def stop(self):
        from std_srvs.srv import Trigger

        return self.client.call(Trigger, "policy/stop", Trigger.Request())

    def check(self):
        from std_srvs.srv import Trigger

        return self.client.call(Trigger, "policy/check", Trigger.Request())

    def steps(self):
        from rlco_msgs.srv import ScoreTrial

        return self.client.call(ScoreTrial, "lab/score_trial", ScoreTrial.Request()).steps

    def until_moving(self):
        before = self.steps()
        self.client.until(lambda: self.steps() > before, "the bench to move")

    def until_error(self, text):
        self.client.until(
            lambda: (
                self.client.statuses.get("policy", (0, ""))[0] == ERROR
                and text in self.client.statuses["policy"][1]
            ),
            f"an error with {text!r}; last: {self.client.statuses.get('policy')}",
        )

    def until_ready(self):
        self.client.until(lambda: self.check().success, "the policy to be ready")


@pytest.fixture(scope="module")
def rig(domain, tmp_path_factory):
    from rlco_calibration.twin import demo_bench
    from rlco_datasets.contract import franka_compact

    folder = tmp_path_factory.mktemp("rig")
    server = ScriptedServer(franka_compact()).start()
    policy = {"server": server.url, "timeout_s": 3.0, "silence_s": 5.0}
    lab = NodeProcess("fake_scene", {"twin": str(demo_bench())}, folder)
    driver = NodeProcess("rlco.nodes.policy", policy, folder)
    limits = {"max_step_m": 0.05, "max_step_rad": 0.2, "initial_source": "policy"}
    guard = NodeProcess("rlco.nodes.guard", limits, folder)
    with nodes(lab, driver, guard), client() as watcher:
        watcher.watch_diagnostics()
        yield Rig(watcher, lab, driver, server)
    server.stop()


@pytest.fixture
def driving(rig, request):
    """The rig while the policy drives the bench."""
    rig.server.behaviour = "good"
    rig.server.release.clear()
    rig.until_ready()
    started = rig.start(request.node.name)
    assert started.success, started.message
    rig.until_moving()
    return rig


def stands_still(rig):
    before = rig.steps()
    assert not rig.stop().success  # it has stopped by itself
    assert rig.steps() == before
    assert rig.policy.process.poll() is None


def test_it_drives_until_it_is_stopped(driving):
    again = driving.start("another")
    assert not again.success
    assert "already driving session" in again.message
    stopped = driving.stop()
    assert stopped.success
    assert ", 0 of them held" in stopped.message
    assert driving.server.sessions[-1] == "test_it_drives_until_it_is_stopped"
    stands_still(driving)


def test_an_answer_with_nan_is_not_executed(driving):
    driving.server.behaviour = "nan"
    driving.until_error("NaN or infinite actions")
    stands_still(driving)


def test_a_slow_server_stops_it(driving):
    driving.server.behaviour = "slow"
    driving.until_error("did not answer within 3.0 s")
    stands_still(driving)


def test_a_server_that_dies_stops_it_and_can_be_started_again(driving):
    driving.server.stop()
    driving.until_error("no policy server at")
    stands_still(driving)
    refused = driving.start("while down")
    assert not refused.success
    assert "Start one with 'rlco-serve" in refused.message
    driving.server.start()
    driving.until_ready()
    assert driving.start("up again").success
    driving.until_moving()
    assert driving.stop().success


def test_a_silent_bench_stops_it_by_its_topics(driving):
    assert driving.lab.end(signal.SIGTERM) == 0
    driving.until_error("silent topics: franka_robot_state_broadcaster/current_pose")
    refused = driving.start("silent")
    assert not refused.success
    assert "cameras/third_person/image_raw" in refused.message
    assert driving.policy.end(signal.SIGTERM) == 0
