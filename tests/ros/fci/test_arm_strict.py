"""The fci driver and the guard against a robot that answers faults with reflexes.

Real processes are killed in mid-motion; what counts is what the robot itself says of its joints.
"""

import itertools
import signal
import time

import pytest
from fci_bench import Rig
from fci_peers import peer
from rlco_datasets.contract import franka_compact
from ros_processes import client
from scripted_server import ScriptedServer

pytestmark = [pytest.mark.ros, pytest.mark.slow]
CONTRACT = franka_compact()
STOPPED_S = 0.2
ATTEMPTS = 3
"""A busy machine delays any of the processes; one undisturbed run in so many shows the design."""


@pytest.fixture(scope="module")
def robot(domain, tmp_path_factory):
    pytest.importorskip("franky", reason="needs franky-control (make setup-tests)")
    with peer("strict", tmp_path_factory.mktemp("strict")) as made:
        yield made


@pytest.fixture
def rig(robot, tmp_path):
    with client() as watcher:
        made = Rig(watcher, robot, tmp_path)
        made.start_guard()
        made.start_arm()
        yield made
        made.close()


def require_stop(rig, attempt):
    """Check that of a few attempts one stops in time; the first good one ends it."""
    times = []
    for _ in range(ATTEMPTS):
        times.append(attempt())
        print(f"stopped after {times[-1]:.3f} s")  # shown by -rP
        if times[-1] <= STOPPED_S:
            return
    rig.robot.need_its_pace()
    raise AssertionError(f"stopped after {times} s, not within {STOPPED_S} s")


def test_it_says_what_it_is_connected_to(rig):
    rig.until(lambda: rig.status is not None and rig.status.mode == "idle", "an idle arm")
    assert f"FCI server 10 at {rig.robot.address}, franky-control 2" in rig.status.version
    assert rig.status.version in rig.processes["arm"].output
    assert rig.processes["arm"].end(signal.SIGTERM) == 0


def test_a_killed_operator_is_stopped(rig):
    def attempt():
        rig.start_source("teleop")
        rig.until_driving("teleop")
        stop_s = rig.stop_time_s(rig.kill("teleop"))
        assert not rig.robot.moving()
        return stop_s

    require_stop(rig, attempt)


def test_a_killed_policy_is_stopped_until_a_person_resumes(rig):
    rig.start_camera()

    def attempt():
        rig.start_source("policy")
        rig.until_driving("policy")
        stop_s = rig.stop_time_s(rig.kill("policy"))
        rig.until_stopped("policy has sent no command for")
        return stop_s

    require_stop(rig, attempt)
    rig.start_source("policy")
    rig.spin(1.0)
    assert not rig.robot.moving()
    rig.until_driving("policy")


def test_a_killed_camera_stops_a_policy(rig):
    rig.start_source("policy")

    def attempt():
        rig.start_camera()
        rig.until_driving("policy")
        stop_s = rig.stop_time_s(rig.kill("camera"))
        rig.until_stopped("camera 'third_person' was heard not for")
        return stop_s

    require_stop(rig, attempt)


def test_a_killed_guard_is_missed_by_the_arm(rig):
    rig.start_source("teleop")

    def attempt():
        rig.until_driving("teleop")
        stop_s = rig.stop_time_s(rig.kill("guard"))
        rig.until(lambda: rig.status.held, "the driver to hold the arm")
        assert "guard/state was not heard" in rig.status.reason
        rig.start_guard()
        rig.spin(1.0)
        assert not rig.robot.moving()
        return stop_s

    require_stop(rig, attempt)


@pytest.mark.parametrize("fault", ["dead", "late"])
def test_a_policy_server_that_fails_leaves_the_arm_at_rest(rig, fault):
    """What is left of the chunk is executed; from its last set-point on, the arm rests in time."""
    from rlco_msgs.srv import StartPolicy

    server = ScriptedServer(CONTRACT).start()
    rig.start_camera()
    rig.start_gripper()
    rig.start_policy(server.url)
    speeds = itertools.cycle((0.01, -0.01))  # 0.1 m/s at 10 Hz, to and fro
    request = StartPolicy.Request(policy="A", instruction="swing", session="s")

    def drives():
        rig.until_ready()
        rig.trigger("policy/stop")
        return (
            rig.select("policy")
            and rig.call(StartPolicy, "policy/start", request).success
            and rig.moves_within(3.0)
        )

    def attempt():
        server.behaviour, server.step_m = "good", (0.0, next(speeds), 0.0)
        server.release.clear()
        rig.until_driven(drives)
        if fault == "dead":
            server.stop()
        else:
            server.behaviour = "slow"
        rig.until_stopped("policy has sent no command for")
        stop_s = rig.stop_time_s(rig.asked_s)
        assert not rig.robot.moving()
        if fault == "dead":
            server.start()
        server.release.set()
        return stop_s

    try:
        require_stop(rig, attempt)
    finally:
        server.stop()


def test_the_software_e_stop_stops_it(rig):
    rig.start_source("teleop")

    def attempt():
        rig.until_driving("teleop")
        pressed_s = time.monotonic()
        assert rig.trigger("guard/stop").success
        return rig.stop_time_s(pressed_s)

    require_stop(rig, attempt)


def test_after_a_reflex_nothing_recovers_it_but_a_person(rig):
    rig.start_source("teleop")
    rig.until_driving("teleop")
    arm = rig.processes["arm"].process
    arm.send_signal(signal.SIGSTOP)  # the robot hears nothing from its client
    rig.client.until(lambda: rig.robot.newest()["mode"] == 4, "the robot's reflex")
    arm.send_signal(signal.SIGCONT)
    rig.until(lambda: rig.status.mode == "reflex", "the driver to report the reflex")
    rig.until(lambda: rig.state.stopped, "the guard to stop")
    rig.spin(2.0)
    assert rig.robot.newest()["mode"] == 4
    assert rig.status.mode == "reflex"
    refused = rig.trigger("guard/resume")
    assert not refused.success
    assert "reflex" in refused.message
    rig.until_ready()
    assert rig.status.version
    rig.until_driving("teleop")


def test_a_killed_driver_is_stopped_by_the_robot(rig):
    rig.start_source("teleop")
    rig.until_driving("teleop")
    rig.kill("arm")
    rig.until(lambda: not rig.robot.moving(), "the robot to stop by itself")
    rig.until_stopped("arm")  # its state or its status, whichever is missed first
    rig.start_arm()
    rig.until(lambda: rig.status.mode == "idle", "a driver that has connected again")
