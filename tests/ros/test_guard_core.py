"""The guard's decisions, with a clock that the test moves."""

import numpy as np
import pytest
from rlco.core.guard import Guard
from rlco.core.guard_rules import StopRamp
from rlco.core.joint_limits import JOINT_LIMITS
from rlco.parameters import GuardLimits
from rlco_datasets.contract import franka_compact

CONTRACT = franka_compact()
PERIOD_NS = CONTRACT.period_ns
CAMERA = CONTRACT.camera_names[0]
READY_RAD = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)


def pose(x, y=0.0, z=0.3):
    made = np.diag([1.0, -1.0, -1.0, 1.0])
    made[:3, 3] = x, y, z
    return made


class Bench:
    """A guard, the clock that it sees, and an arm that is where it was told to be."""

    def __init__(self, *, lock_step=False, arm=False, **limits):
        self.now_s = 100.0
        self.where = pose(0.4)
        self.guard = Guard(
            GuardLimits(**limits),
            CONTRACT,
            lock_step=lock_step,
            clock_s=lambda: self.now_s,
            cameras=CONTRACT.camera_names,
            with_arm_status=arm,
        )
        self.arm = arm
        self.lock_step = lock_step

    @property
    def now_ns(self):
        return round(self.now_s * 1e9)

    def live(self, seconds=0.0, *, camera=True, state=True, arm=True, step_s=0.01):
        """Let time go by while everything else is heard."""
        until_s = self.now_s + seconds
        while True:
            if state:
                self.guard.hear_state(self.now_ns, self.where)
            if camera:
                self.guard.hear_camera(CAMERA)
            if self.arm and arm:
                self.guard.hear_arm("move", held=False, reason="")
            if self.now_s >= until_s - 1e-9:
                break
            self.now_s += step_s
            self.guard.watch(self.now_ns)

    def command(self, asked, source="policy", age_s=0.0):
        found = self.guard.offer(source, round((self.now_s - age_s) * 1e9), asked)
        if found is not None:
            self.where = found.T_base_target
        return found

    def drive(self, source="policy", steps=3):
        """Hand over and drive at 20 Hz."""
        self.live(0.1)
        assert self.guard.select(source) == ""
        for _ in range(steps):
            assert self.command(pose(self.where[0, 3] + 0.02), source) is not None
            self.live(0.05)
        assert not self.guard.stopped


def test_only_the_source_that_was_handed_to_drives():
    bench = Bench()
    bench.live(0.1)
    assert bench.command(pose(0.41), "policy") is None
    assert bench.guard.select("teleop") == ""
    assert bench.command(pose(0.41), "policy") is None
    assert bench.guard.offer_width("policy", 0.02) is None
    asked = pose(0.41)
    assert bench.command(asked, "teleop").T_base_target is asked
    assert bench.guard.offer_width("teleop", 0.02) == 0.02
    bench.live(0.1)
    assert bench.guard.select("policy") == ""
    assert bench.command(pose(0.42), "teleop") is None
    assert bench.command(pose(0.42), "policy") is not None
    assert not bench.guard.stopped


def test_after_a_hand_over_commands_start_where_the_arm_is():
    bench = Bench()
    bench.drive("teleop")
    bench.where = pose(0.6, 0.2)
    bench.live(0.02)
    assert bench.guard.select("policy") == ""
    assert not bench.command(pose(0.61, 0.2), "policy").limited


def test_a_command_far_from_the_arm_stops_it():
    bench = Bench()
    bench.live(0.1)
    bench.guard.select("policy")
    assert bench.command(pose(0.6)) is None
    assert "policy's set-point at [0.6, 0.0, 0.3] m is 0.170 m" in bench.guard.reason


def test_a_small_excess_is_limited_and_caught_up():
    bench = Bench(max_speed_m_s=3.0)
    bench.drive(steps=1)
    x = bench.where[0, 3]
    found = bench.command(pose(x + 0.05))
    assert found.limited
    assert found.T_base_target[0, 3] == pytest.approx(x + 0.03)
    assert bench.guard.limited == 1
    bench.live(0.1)
    assert bench.command(pose(x + 0.05)).T_base_target[0, 3] == pytest.approx(x + 0.05)


def test_a_source_that_keeps_running_away_is_stopped():
    bench = Bench()
    bench.drive(steps=1)
    x = bench.where[0, 3]
    for step in range(1, 9):
        if bench.command(pose(x + 0.05 * step)) is None:
            break
        bench.live(0.1)
    assert step == 3  # 0.02 m more behind at each
    assert "beyond what workspace, step and speed limits permit" in bench.guard.reason


def test_a_repeated_command_does_not_step_twice():
    bench = Bench(lock_step=True)
    bench.live()
    bench.guard.select("policy")
    stamp_ns = bench.now_ns
    first = bench.guard.offer("policy", stamp_ns, pose(0.45))
    again = bench.guard.offer("policy", stamp_ns, pose(0.45))
    np.testing.assert_array_equal(first.T_base_target, again.T_base_target)
    assert bench.guard.offer("policy", stamp_ns - 1, pose(0.45)) is None
    assert not bench.guard.stopped


def test_zero_deviation_stops_at_any_excess():
    bench = Bench(max_deviation_m=0.0)
    bench.drive(steps=1)
    assert bench.command(pose(bench.where[0, 3] + 0.031)) is None
    assert bench.guard.stopped


@pytest.mark.parametrize("width_m", [float("nan"), float("inf")])
def test_a_gripper_width_that_is_no_number_stops(width_m):
    bench = Bench()
    bench.drive()
    assert bench.guard.offer_width("policy", width_m) is None
    assert "gripper width" in bench.guard.reason


def test_a_gripper_width_is_kept_in_range():
    bench = Bench()
    bench.drive()
    assert bench.guard.offer_width("policy", 0.5) == CONTRACT.gripper_max_width_m
    assert bench.guard.offer_width("policy", -0.1) == 0.0


def test_a_late_command_stops():
    bench = Bench()
    bench.live(0.1)
    bench.guard.select("policy")
    assert bench.command(pose(0.41), age_s=0.2) is None
    assert "0.200 s older than the newest state" in bench.guard.reason


@pytest.mark.parametrize(
    ("alive", "reason", "limit_s"),
    [
        ({}, "policy has sent no command for 0.1", 0.15),
        ({"camera": False}, f"camera {CAMERA!r} was heard not for", 0.15),
        ({"state": False}, "the arm's state was heard not for 0.2", 0.2),
        ({"arm": False}, "the arm driver's status was heard not for", 0.2),
    ],
)
def test_silence_stops_in_time_and_says_who(alive, reason, limit_s):
    bench = Bench(arm=True)
    bench.drive()
    lost_s = bench.now_s - 0.05 * (not alive)
    while not bench.guard.stopped:
        bench.live(0.01, **alive)
        if alive:
            bench.command(pose(bench.where[0, 3]))
        assert bench.now_s < lost_s + 1.0
    assert reason in bench.guard.reason
    assert bench.now_s - lost_s <= limit_s + 0.021
    assert bench.command(pose(0.47)) is None


def test_an_operator_who_lets_go_brings_the_arm_to_rest_and_may_go_on():
    bench = Bench()
    bench.drive("teleop")
    last, hand_overs = bench.where, bench.guard.hand_overs
    bench.live(0.2)
    assert not bench.guard.stopped
    assert bench.guard.hand_overs == hand_overs + 1
    assert bench.guard.resting
    np.testing.assert_array_equal(bench.guard.ramp.pose(0.0), last)
    bench.where = pose(0.5)  # wherever it is now, that is where the next command starts
    bench.live(3.0)
    assert not bench.command(pose(0.51), "teleop").limited
    assert bench.guard.ramp is None
    assert not bench.guard.resting
    bench.live(0.01)
    assert bench.command(pose(0.9), "teleop") is None
    assert bench.guard.stopped


def test_cameras_matter_to_a_policy_only():
    bench = Bench()
    bench.drive("teleop")
    for _ in range(30):
        bench.live(0.05, camera=False)
        assert bench.command(pose(bench.where[0, 3]), "teleop") is not None
    assert not bench.guard.stopped


def test_in_lock_step_the_guard_waits_for_whoever_is_slow():
    bench = Bench(lock_step=True)
    bench.live()
    bench.guard.select("policy")
    assert bench.command(pose(0.41)) is not None
    bench.now_s += 1000.0
    bench.guard.watch(bench.now_ns)
    assert not bench.guard.stopped


def test_in_lock_step_a_first_command_waits_for_the_state_that_it_answers():
    """The scene was reset: the guard may hear of the new pose after the command for it."""
    bench = Bench(lock_step=True)
    bench.live()
    bench.guard.select("policy")
    bench.where = pose(0.7)
    stamp_ns = bench.now_ns + PERIOD_NS
    asked = pose(0.72)
    assert bench.guard.waits(stamp_ns)
    assert bench.guard.offer("policy", stamp_ns, asked) is None
    bench.guard.hear_state(stamp_ns, bench.where)
    assert not bench.guard.waits(stamp_ns)
    assert bench.guard.offer("policy", stamp_ns, asked).T_base_target is asked


def test_a_stop_stays_until_the_operator_resumes():
    bench = Bench()
    bench.drive()
    bench.guard.stop("software e-stop")
    bench.guard.stop("a later reason")
    assert bench.guard.reason == "software e-stop"
    bench.live(1.0)
    assert bench.command(pose(0.46)) is None
    assert "Resume first" in bench.guard.select("policy")
    assert bench.guard.resume() == ""
    assert bench.guard.source == "policy"
    assert bench.command(pose(0.46)) is not None


def test_by_the_wall_clock_a_stop_leads_to_the_measured_pose():
    bench = Bench()
    bench.drive()
    behind = pose(bench.where[0, 3] - 0.01)
    last = bench.where
    bench.guard.hear_state(bench.now_ns, behind)
    bench.guard.stop("software e-stop")
    ramp = bench.guard.ramp
    np.testing.assert_array_equal(ramp.pose(bench.now_s), last)
    np.testing.assert_allclose(ramp.pose(bench.now_s + StopRamp.DURATION_S), behind)
    bench.guard.resume()
    assert bench.guard.ramp is None


def test_without_a_fresh_state_a_stop_holds_the_last_set_point():
    bench = Bench()
    bench.drive()
    last = bench.where
    bench.guard.hear_state(bench.now_ns, pose(0.2))
    bench.now_s += 0.5
    bench.guard.stop("software e-stop")
    np.testing.assert_array_equal(bench.guard.ramp.pose(bench.now_s + 1.0), last)


@pytest.mark.parametrize("mode", ["reflex", "user_stopped", "guiding", "other"])
def test_an_arm_that_cannot_be_driven_stops_and_must_be_mended_before_resuming(mode):
    bench = Bench(arm=True)
    bench.drive()
    bench.guard.hear_arm(mode, held=True, reason="joint_reflex")
    assert bench.guard.reason == f"the arm is in mode {mode!r}: joint_reflex"
    assert "Mend that first" in bench.guard.resume()
    assert bench.guard.stopped
    bench.guard.hear_arm("idle", held=True, reason="")
    assert bench.guard.resume() == ""
    bench.guard.hear_arm("idle", held=True, reason="held before the hand-over")
    assert not bench.guard.stopped


def test_a_driver_that_holds_the_arm_stops_the_guard():
    bench = Bench(arm=True)
    bench.drive()
    bench.guard.hear_arm("idle", held=True, reason="no set-point for 0.16 s")
    assert bench.guard.reason == "the arm driver holds the arm: no set-point for 0.16 s"


@pytest.mark.parametrize("robot", sorted(JOINT_LIMITS))
def test_a_joint_near_its_limit_stops(robot):
    bench = Bench(robot=robot)
    bench.guard.hear_joints(READY_RAD)
    bench.drive()
    near = list(READY_RAD)
    near[3] = JOINT_LIMITS[robot].high_rad[3] - 0.04
    bench.guard.hear_joints(near)
    assert bench.guard.reason.startswith("joint 4 is 0.040 rad from its limit")
    assert "joint 4" in bench.guard.resume()
    bench.guard.hear_joints(READY_RAD)
    assert bench.guard.resume() == ""
    with pytest.raises(ValueError, match="expected 7 finite"):
        bench.guard.hear_joints([0.0] * 6)


def test_hand_over_is_refused_with_the_reason():
    bench = Bench(arm=True)
    assert "the arm's state was heard never" in bench.guard.select("teleop")
    bench.live(0.1, arm=False)
    assert "the arm driver's status was heard never" in bench.guard.select("teleop")
    bench.live(0.1)
    assert "source must be one of" in bench.guard.select("joystick")
    assert "speaks contract abc" in bench.guard.select("policy", "abc")
    assert bench.guard.select("policy", CONTRACT.id) == ""
    assert bench.guard.source == "policy"
