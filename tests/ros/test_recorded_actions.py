"""Set-points with jitter: what the guard let through becomes actions of the contract, all of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco.core.episode_builder import COMMAND_HELD, STEP_SHORTENED, Streams, build
from rlco.core.recorded_actions import deltas
from rlco.core.streams import Stream
from rlco.core.targets import TargetIntegrator
from rlco_datasets.contract import franka_compact
from rlco_datasets.episode import Episode, EpisodeMetadata, check_episode
from rlco_datasets.frames import apply_delta, delta_between, pose_matrix

CONTRACT = franka_compact()
P = CONTRACT.period_ns
SPEED_M_S = CONTRACT.max_translation_m * CONTRACT.control_rate_hz
START = pose_matrix((0.5, 0.0, 0.2), np.diag([1.0, -1.0, -1.0]))


def at(offset_m):
    pose = START.copy()
    pose[0, 3] += offset_m
    return pose


def recorded(stamps_ns, offsets_m):
    """A bench that is observed every tenth of a period, and set-points along x."""
    streams = Streams(
        images={"third_person": Stream("image")},
        pose=Stream("pose"),
        width=Stream("fingers"),
        target=Stream("target_pose"),
        width_target=Stream("gripper/target"),
    )
    for stamp in range(0, int(stamps_ns[-1]) + P, P // 10):
        streams.images["third_person"].push(stamp, np.zeros((64, 64, 3), np.uint8))
        streams.pose.push(stamp, START)
        streams.width.push(stamp, 0.04)
    for stamp, offset_m in zip(stamps_ns, offsets_m, strict=True):
        streams.target.push(int(stamp), at(offset_m))
        streams.width_target.push(int(stamp), 0.08)
    return streams


def episode_of(built):
    metadata = EpisodeMetadata(
        source="real",
        task="push_cube",
        instruction="go",
        operator="test",
        outcome="success",
        contract_id=CONTRACT.id,
        software_version="0",
        created_utc="2026-01-01T00:00:00+00:00",
        flags=built.flags,
        extra=built.notes,
    )
    return Episode(
        metadata=metadata,
        images=built.images,
        state=built.state,
        actions=built.actions,
        stamps_ns=built.stamps_ns,
    )


def played(actions, start=START):
    """Where actions lead, executed as a policy's are."""
    integrator = TargetIntegrator(CONTRACT, (-9, -9, -9), (9, 9, 9))
    integrator.start(start, 0.08)
    return [integrator.advance(action).T_base_target for action in actions]


@given(st.lists(st.floats(-0.45, 0.45), min_size=4, max_size=40), st.integers(0, P - 1))
def test_a_command_a_period_with_jitter_is_recorded_at_the_speed_it_was_permitted(jitter, phase):
    stamps = ((np.arange(len(jitter)) + np.array(jitter) + 1) * P + phase).astype(np.int64)
    offsets = SPEED_M_S * (stamps - stamps[0]) / 1e9  # as fast as the guard permits
    built = build(recorded(stamps, offsets), CONTRACT)
    assert built.flags == ()
    np.testing.assert_allclose(built.actions[1:, 0], CONTRACT.max_translation_m, atol=1e-6)
    check_episode(episode_of(built), CONTRACT)


def test_set_points_faster_than_the_contract_are_shortened_flagged_and_caught_up_with():
    step = CONTRACT.max_translation_m
    # Two full steps fall into the third period; the guard of this bench permits a higher speed.
    stamps = np.array([1, 2, 2.95, 3, 4, 5]) * P
    offsets = np.array([0, step, 2 * step, 3 * step, 3 * step, 3 * step])
    built = build(recorded(stamps, offsets), CONTRACT)
    assert built.flags == (STEP_SHORTENED,)
    np.testing.assert_allclose(built.actions[:, 0], [0, step, step, step, 0], atol=1e-6)
    assert built.notes[STEP_SHORTENED].startswith(
        "1 of 5 steps, the first 2, moved further than the contract allows (up to 0.100 m, 0.000"
    )
    check_episode(episode_of(built), CONTRACT)


def test_an_operator_who_let_go_of_the_clutch_holds_the_arm_and_loses_no_episode():
    step = CONTRACT.max_translation_m / 2
    stamps = np.array([1, 2, 3, 23, 24, 25]) * P
    built = build(recorded(stamps, step * np.arange(6)), CONTRACT)
    assert built.flags == (COMMAND_HELD,)
    assert len(built.actions) == 25
    np.testing.assert_allclose(built.actions[3:22, 0], 0, atol=1e-7)
    np.testing.assert_allclose(built.actions[[1, 2, 22, 23, 24], 0], step, atol=1e-6)


@given(st.integers(0, 200), st.integers(2, 30))
def test_played_back_the_actions_follow_the_targets_within_the_contract(seed, steps):
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-1, 1, (steps, 6)) * [*[0.06] * 3, *[0.25] * 3]
    executed = [START]
    for move in moves:
        executed.append(apply_delta(executed[-1], move))
    executed += [executed[-1]] * 40  # the operator rests
    made = deltas(START, np.stack(executed), CONTRACT)
    assert (np.linalg.norm(made.values[:, :3], axis=1) <= CONTRACT.max_translation_m + 1e-6).all()
    assert (np.linalg.norm(made.values[:, 3:], axis=1) <= CONTRACT.max_rotation_rad + 1e-6).all()
    reached = played(np.column_stack([made.values, np.ones(len(made.values))]))
    np.testing.assert_allclose(delta_between(reached[-1], executed[-1]), 0, atol=1e-6)
    assert bool(made.shortened) == bool(made.note)


def test_what_was_meant_is_shortened_without_moving_what_follows():
    executed = np.stack([at(0.0), at(0.0), at(0.0)])
    meant = np.stack([at(0.01), at(0.2), at(0.02)])
    made = deltas(START, executed, CONTRACT, meant=meant)
    np.testing.assert_allclose(made.values[:, 0], [0.01, CONTRACT.max_translation_m, 0.02])
    assert made.shortened == (1,)
    assert made.most_m == pytest.approx(0.2)


def test_a_gripper_told_once_is_held():
    stamps = np.arange(1, 12) * P
    streams = recorded(stamps, np.zeros(11))
    once = Stream("gripper/target")
    for stamp in (1, 11):
        once.push(stamp * P, 0.02 * stamp)
    built = build(replace(streams, width_target=once), CONTRACT)
    np.testing.assert_allclose(built.actions[:-1, 6], 0.25)
    assert built.flags == (COMMAND_HELD,)
