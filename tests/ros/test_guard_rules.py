"""The guard's geometry: what is let through keeps to every limit, whatever is asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rlco.core.guard_rules import ROUNDING, StopRamp, permit
from rlco.parameters import GuardLimits, ParameterError
from scipy.spatial.transform import Rotation

LIMITS = GuardLimits(
    workspace_low_m=(0.2, -0.3, 0.0),
    workspace_high_m=(0.8, 0.3, 0.6),
    table_height_m=0.02,
    table_clearance_m=0.01,
)
FLOOR_M = 0.03


def numbers(low, high, size=3):
    return hnp.arrays(float, size, elements=st.floats(low, high, width=32))


def pose(position, turn=(0.0, 0.0, 0.0)):
    made = np.eye(4)
    made[:3, 3] = position
    made[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    return made


poses = st.builds(pose, numbers(-2, 2), numbers(-3, 3))
inside = st.builds(
    lambda share, turn: pose(
        np.array([0.2, -0.3, FLOOR_M]) + share * np.array([0.6, 0.6, 0.6 - FLOOR_M]), turn
    ),
    numbers(0, 1),
    numbers(-3, 3),
)


def angle(a, b):
    return Rotation.from_matrix(a[:3, :3] @ b[:3, :3].T).magnitude()


@given(asked=poses, reference=inside, elapsed_s=st.floats(0.0, 1.0))
def test_whatever_is_asked_the_step_keeps_to_the_limits(asked, reference, elapsed_s):
    found = permit(asked, reference, elapsed_s, LIMITS)
    position = found.T_base_target[:3, 3]
    assert (position >= np.array([0.2, -0.3, FLOOR_M]) - 2 * ROUNDING).all()
    assert (position <= np.array([0.8, 0.3, 0.6]) + 2 * ROUNDING).all()
    step_m = np.linalg.norm(position - reference[:3, 3])
    assert step_m <= min(LIMITS.max_step_m, LIMITS.max_speed_m_s * elapsed_s) + 3 * ROUNDING
    step_rad = angle(found.T_base_target, reference)
    assert step_rad <= min(LIMITS.max_step_rad, LIMITS.max_speed_rad_s * elapsed_s) + 3 * ROUNDING
    rotation = found.T_base_target[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.norm(position - asked[:3, 3]) == pytest.approx(found.moved_m, abs=2e-6)
    assert angle(found.T_base_target, asked) <= found.turned_rad + 2e-6


@given(reference=inside, direction=numbers(-1, 1), share=st.floats(0, 1))
def test_what_keeps_to_the_limits_passes_bit_for_bit(reference, direction, share):
    step = direction / max(1.0, np.linalg.norm(direction)) * LIMITS.max_step_m * share
    asked = reference.copy()
    asked[:3, 3] = np.clip(asked[:3, 3] + step, (0.2, -0.3, FLOOR_M), (0.8, 0.3, 0.6))
    found = permit(asked, reference, 0.1, LIMITS)
    assert found.T_base_target is asked
    assert not found.limited


def test_a_step_on_the_limit_in_other_arithmetic_passes():
    reference = pose((0.5, 0.0, 0.3))
    asked = pose((0.5 + LIMITS.max_step_m * (1 + 1e-12), 0.0, 0.3))
    assert permit(asked, reference, 1.0, LIMITS).T_base_target is asked


@given(asked=inside)
def test_an_arm_outside_the_workspace_is_led_back(asked):
    reference = pose((0.9, 0.0, 0.3))
    found = permit(asked, reference, 1.0, LIMITS)
    before = np.maximum(reference[:3, 3] - 0.8, 0).sum()
    assert np.maximum(found.T_base_target[:3, 3] - 0.8, 0).sum() < before


def test_steps_at_the_limit_arrive():
    asked, reference = pose((0.7, 0.2, 0.1), (0.0, 0.0, 2.0)), pose((0.3, -0.2, 0.5))
    steps = 0
    while True:
        found = permit(asked, reference, 0.1, LIMITS)
        reference = found.T_base_target
        steps += 1
        if not found.limited:
            break
        assert steps < 100
    np.testing.assert_allclose(reference, asked, atol=1e-9)
    assert steps == np.ceil(
        np.sqrt(3 * 0.4**2) / LIMITS.max_step_m
    )  # the way is longer than the turn


def test_a_tilted_table_lifts_along_its_normal():
    tilt = np.array([np.sin(0.2), 0.0, np.cos(0.2)])
    limits = GuardLimits(table_normal=tuple(tilt), table_height_m=0.1, table_clearance_m=0.02)
    low = pose((0.4, 0.0, 0.0))
    found = permit(low, low, 1.0, GuardLimits(**{**vars(limits), "max_step_m": 0.2}))
    assert tilt @ found.T_base_target[:3, 3] == pytest.approx(0.12, abs=1e-6)
    moved = found.T_base_target[:3, 3] - low[:3, 3]
    np.testing.assert_allclose(np.cross(moved, tilt), 0, atol=1e-6)


@given(start=poses, end=poses)
def test_a_stop_begins_at_the_set_point_and_ends_at_the_measured_pose(start, end):
    ramp = StopRamp(start, end, started_s=10.0)
    np.testing.assert_allclose(ramp.pose(10.0), start, atol=1e-9)
    np.testing.assert_allclose(ramp.pose(11.0), end, atol=1e-7)
    assert not ramp.done(10.0)
    assert ramp.done(10.0 + StopRamp.DURATION_S)
    way = np.linalg.norm(end[:3, 3] - start[:3, 3])
    times = np.linspace(10.0, 10.0 + StopRamp.DURATION_S, 31)
    positions = np.array([ramp.pose(t)[:3, 3] for t in times])
    speeds = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert speeds.sum() == pytest.approx(way, rel=1e-6, abs=1e-9)  # straight, no overshoot
    assert max(speeds[0], speeds[-1]) <= 0.01 * way + 1e-12  # from rest to rest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workspace_low_m": (0.9, 0.0, 0.0), "workspace_high_m": (0.8, 1.0, 1.0)}, "below high"),
        ({"table_normal": (0.0, 0.0, 2.0)}, "has length 2.0000, not 1"),
        ({"max_step_m": 0.0}, "max_step_m"),
        ({"max_speed_m_s": float("nan")}, "max_speed_m_s"),
        ({"robot": "ur5"}, "robot must be one of"),
    ],
)
def test_impossible_limits_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        GuardLimits(**changes)
