"""Teleoperation without devices: clutch, speed, dead band, gripper, gestures, leader arm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco.core.gestures import BindingError, Gestures, parse_bindings
from rlco.core.kinematics import tcp_pose
from rlco.core.teleop import (
    ACTIONS,
    Measured,
    Reading,
    Teleop,
    TeleopRules,
    shortened,
    without_dead_band,
)
from rlco_datasets.frames import apply_delta, delta_between, pose_matrix
from scipy.spatial.transform import Rotation

DT_S = 0.05
START = pose_matrix([0.5, 0.1, 0.3], Rotation.from_euler("x", np.pi).as_matrix())
READY = np.array([0, -0.785, 0, -2.356, 0, 1.571, 0.785])
AXES = st.lists(st.floats(-1, 1), min_size=6, max_size=6).map(np.array)


def rules(**changes):
    values = {
        **{"speed_m_s": 0.2, "turn_rad_s": 0.5, "dead_band": 0.1, "clutch": "always"},
        **{"leash_m": 10.0, "leash_rad": 3.0, "gripper_max_width_m": 0.08, "speeds": (0.5, 1.0)},
    }
    return TeleopRules(**(values | changes))


class Operator:
    """Feeds readings at 20 Hz; the arm follows at once unless it is blocked."""

    def __init__(self, bindings="", blocked=False, pose=START, **changes):
        self.teleop = Teleop(rules(**changes), parse_bindings(bindings, ACTIONS))
        self.pose, self.width_m, self.blocked = pose, 0.08, blocked
        self.commanded_m = None
        self.now_s = 0.0

    def step(self, reading=None, allowed=True, dt_s=DT_S):
        self.now_s += dt_s
        measured = Measured(
            T_base_tcp=self.pose, width_m=self.width_m, commanded_width_m=self.commanded_m
        )
        step = self.teleop.update(
            reading or Reading(), measured if allowed else None, dt_s=dt_s, now_s=self.now_s
        )
        if step.target is not None and not self.blocked:
            self.pose = step.target.T_base_target
        return step

    def press(self, *buttons, times=1):
        events = []
        for _ in range(times):
            events += self.step(Reading(held=frozenset(buttons))).events
        return [*events, *self.step().events]


def full(axis, value=1.0):
    axes = np.zeros(6)
    axes[axis] = value
    return Reading(axes=axes)


def test_the_target_begins_where_the_arm_is_and_moves_at_the_chosen_speed():
    operator = Operator()
    np.testing.assert_allclose(operator.step().target.T_base_target, START)
    for _ in range(20):
        step = operator.step(full(0))
    moved = delta_between(START, step.target.T_base_target)
    np.testing.assert_allclose(moved, [0.2, 0, 0, 0, 0, 0], atol=1e-9)
    for _ in range(20):
        step = operator.step(full(5))
    moved = delta_between(START, step.target.T_base_target)
    np.testing.assert_allclose(moved, [0.2, 0, 0, 0, 0, 0.5], atol=1e-9)


@settings(deadline=None)
@given(AXES, st.floats(-180, 180))
def test_the_operators_view_turns_every_direction(axes, yaw_deg):
    straight, turned = Operator(), Operator(view_yaw_rad=np.radians(yaw_deg))
    ours = delta_between(START, straight.step(Reading(axes=axes)).target.T_base_target)
    theirs = delta_between(START, turned.step(Reading(axes=axes)).target.T_base_target)
    view = Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix()
    np.testing.assert_allclose(theirs[:3], view @ ours[:3], atol=1e-9)
    np.testing.assert_allclose(theirs[3:], view @ ours[3:], atol=1e-9)


@settings(deadline=None)
@given(st.lists(AXES, min_size=1, max_size=20))
def test_no_input_is_faster_than_the_rules(inputs):
    operator, last = Operator(), START
    for axes in inputs:
        pose = operator.step(Reading(axes=axes * 100)).target.T_base_target
        moved = delta_between(last, pose)
        assert np.linalg.norm(moved[:3]) <= 0.2 * DT_S + 1e-9
        assert np.linalg.norm(moved[3:]) <= 0.5 * DT_S + 1e-9
        last = pose


@settings(deadline=None)
@given(AXES, st.floats(0, 0.9))
def test_the_dead_band_is_zero_inside_and_continuous_outside(axes, band):
    result = without_dead_band(axes, band)
    assert (result[np.abs(axes) <= band] == 0).all()
    assert (np.abs(result) <= 1).all()
    assert (result * axes >= 0).all()
    just_outside = without_dead_band(np.full(6, band + 1e-6), band)
    assert (just_outside < 1e-4).all()
    np.testing.assert_allclose(without_dead_band(np.array([1.0, -1.0]), band), [1, -1])


def test_not_a_number_is_no_motion():
    operator = Operator()
    step = operator.step(Reading(axes=np.array([np.nan, 0, 0, 0, 0, np.nan])))
    np.testing.assert_allclose(step.target.T_base_target, START)


def test_the_target_stays_on_its_leash_while_the_arm_is_blocked():
    operator = Operator(blocked=True, leash_m=0.05, leash_rad=0.1)
    for _ in range(60):
        step = operator.step(full(2, -1.0))
    moved = delta_between(START, step.target.T_base_target)
    np.testing.assert_allclose(moved, [0, 0, -0.05, 0, 0, 0], atol=1e-9)
    for _ in range(60):
        step = operator.step(full(3))
    assert np.linalg.norm(delta_between(START, step.target.T_base_target)[3:]) <= 0.1 + 1e-9


def test_a_held_clutch_drives_and_a_released_one_does_not():
    operator = Operator("lb=clutch", clutch="hold")
    assert operator.step(full(0)).target is None
    held = Reading(axes=full(0).axes, held=frozenset({"lb"}))
    assert operator.step(held).target is not None
    assert operator.step(full(0)).target is None
    operator.pose = apply_delta(START, [0.3, 0, 0, 0, 0, 0])  # moved by hand meanwhile
    pose = operator.step(Reading(held=frozenset({"lb"}))).target.T_base_target
    np.testing.assert_allclose(pose[:3, 3], [0.8, 0.1, 0.3])


def test_a_toggled_clutch_opens_on_stop_and_when_the_device_is_lost():
    operator = Operator("right=clutch, esc=stop, p=resume", clutch="toggle")
    assert operator.step().target is None
    operator.press("right")
    assert operator.step().target is not None
    assert operator.press("esc") == ["stop"]
    assert operator.press("p") == ["resume"]
    assert operator.step().target is None, "driving must not go on by itself after a stop"
    operator.press("right")
    assert operator.step().target is not None
    operator.teleop.release()
    assert operator.step().target is None


def test_after_somebody_else_drove_it_begins_at_the_measured_pose():
    operator = Operator()
    operator.step(full(0))
    operator.pose = apply_delta(START, [0, 0.2, 0, 0, 0, 0.4])
    assert operator.step(allowed=False).target is None
    np.testing.assert_allclose(operator.step().target.T_base_target, operator.pose)


def test_speed_goes_up_and_down_within_its_steps():
    operator = Operator("plus=faster, minus=slower", speeds=(0.1, 0.5, 1.0))
    assert operator.teleop.speed == 1.0
    operator.press("plus")
    assert operator.teleop.speed == 1.0
    for _ in range(5):
        operator.press("minus")
    assert operator.teleop.speed == 0.1
    moved = delta_between(operator.pose, operator.step(full(0)).target.T_base_target)
    np.testing.assert_allclose(moved[0], 0.1 * 0.2 * DT_S)


def test_the_gripper_toggles_and_begins_as_it_was_commanded():
    operator = Operator("space=gripper")
    operator.width_m, operator.commanded_m = 0.04, 0.0  # closed on an object
    assert operator.step().target.width_m == 0.0
    widths = []
    for _ in range(2):
        widths.append(operator.step(Reading(held=frozenset({"space"}))).target.width_m)
        operator.step()
    assert widths == [0.08, 0.0]


def test_events_come_whether_it_drives_or_not():
    operator = Operator("y=success, n=failure")
    step = operator.step(Reading(held=frozenset({"y"})), allowed=False)
    assert (step.events, step.target) == (("success",), None)
    assert operator.press("n") == ["failure"]


def test_a_leader_moves_the_arm_as_it_is_moved_and_never_jumps():
    operator = Operator(speed_m_s=1.0, turn_rad_s=2.0)
    first = operator.step(Reading(joints_rad=READY, opening=1.0))
    np.testing.assert_allclose(first.target.T_base_target, START, atol=1e-9)
    moved = READY + np.array([0.3, 0.1, 0, 0.1, 0, 0, 0.2])
    for _ in range(60):
        step = operator.step(Reading(joints_rad=moved, opening=1.0))
    wanted = delta_between(tcp_pose(READY), tcp_pose(moved))
    np.testing.assert_allclose(delta_between(START, step.target.T_base_target), wanted, atol=1e-9)


@settings(deadline=None)
@given(st.floats(-1.5, 1.5))
def test_a_leader_that_jumps_is_followed_at_the_speed_limit(jump):
    operator = Operator()
    operator.step(Reading(joints_rad=READY))
    pose = operator.step(Reading(joints_rad=READY + jump)).target.T_base_target
    moved = delta_between(START, pose)
    assert np.linalg.norm(moved[:3]) <= 0.2 * DT_S + 1e-9
    assert np.linalg.norm(moved[3:]) <= 0.5 * DT_S + 1e-9


def test_a_leaders_trigger_counts_only_once_it_was_moved():
    operator = Operator()
    operator.width_m, operator.commanded_m = 0.03, 0.0
    widths = [
        operator.step(Reading(joints_rad=READY, opening=opening)).target.width_m
        for opening in (1.0, 0.95, 0.5, 0.0, 1.2)
    ]
    np.testing.assert_allclose(widths, [0.0, 0.0, 0.04, 0.0, 0.08])


@settings(deadline=None)
@given(AXES, st.floats(0.01, 1), st.floats(0.01, 1))
def test_shortening_keeps_the_direction(delta, limit_m, limit_rad):
    result = shortened(delta, limit_m, limit_rad)
    for part, limit in ((slice(0, 3), limit_m), (slice(3, 6), limit_rad)):
        length = np.linalg.norm(delta[part])
        assert np.linalg.norm(result[part]) == pytest.approx(min(length, limit))
        np.testing.assert_allclose(np.cross(result[part], delta[part]), 0, atol=1e-9)


def gestures(text):
    return Gestures(parse_bindings(text, ACTIONS), 0.7)


def play(made, *script):
    """Feed (time, held buttons); return (time, action) of what came."""
    return [
        (at_s, action) for at_s, held in script for action in made.update(set(held.split()), at_s)
    ]


def test_a_plain_button_answers_when_it_goes_down_and_once():
    script = [(0.0, "esc"), (0.1, "esc"), (2.0, "esc"), (2.1, ""), (2.2, "esc")]
    assert play(gestures("esc=stop"), *script) == [(0.0, "stop"), (2.2, "stop")]


def test_short_and_long_presses_are_told_apart():
    made = gestures("left=gripper, left.long=success")
    assert play(made, (0.0, "left"), (0.3, "left"), (0.4, "")) == [(0.4, "gripper")]
    long = play(made, (1.0, "left"), (1.6, "left"), (1.7, "left"), (3.0, "left"), (3.1, ""))
    assert long == [(1.7, "success")]


def test_a_chord_is_not_its_buttons():
    made = gestures("left=gripper, right=clutch, left+right=start, right.long=discard")
    chord = play(made, (0.0, "right"), (0.1, "left right"), (1.5, "left right"), (1.6, ""))
    assert chord == [(0.1, "start")]
    assert play(made, (2.0, "right"), (2.1, "")) == [(2.1, "clutch")]


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from(["a", "b", "c"])), max_size=30))
def test_each_press_brings_about_at_most_one_action(held):
    made = gestures("a=gripper, b=start, a+b=redo, b.long=discard, c=stop")
    presses = actions = 0
    before = set()
    for number, buttons in enumerate([*held, set()]):
        presses += len(buttons - before)
        actions += len(made.update(buttons, number * 0.2))
        before = buttons
    assert actions <= presses


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("left", "'left' is not GESTURE=ACTION"),
        ("left=fly", "actions are clutch, discard"),
        ("=stop", "'=stop' is not"),
        ("a+b=stop, b+a=start", r"'a\+b' is bound twice"),
    ],
)
def test_bindings_that_cannot_be_read_are_refused(text, told):
    with pytest.raises(BindingError, match=told):
        parse_bindings(text, ACTIONS)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"speed_m_s": 0.0}, "speed_m_s must be positive"),
        ({"dead_band": 1.0}, r"dead_band must be in \[0, 1\)"),
        ({"speeds": (1.0, 0.5)}, "speeds must be positive and rise"),
    ],
)
def test_impossible_rules_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        rules(**changes)
