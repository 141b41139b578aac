"""From streams to a stored episode: builder, session and writer."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco.core.episode_builder import COMMAND_HELD, RATE_MISSED, EpisodeGapError, Streams, build
from rlco.core.session import Session, SessionError, State
from rlco.core.streams import Stream
from rlco.core.writer import EpisodeWriter
from rlco_datasets.contract import ContractMismatchError, franka_compact, franka_third_person
from rlco_datasets.episode import EpisodeMetadata
from rlco_datasets.frames import apply_delta, pose_matrix, state_vector
from rlco_datasets.store import EpisodeStore, StoreError

CONTRACT = franka_compact()
P = CONTRACT.period_ns
START = pose_matrix((0.5, 0.0, 0.2), np.diag([1.0, -1.0, -1.0]))
METADATA = EpisodeMetadata(
    source="real",
    task="pick_and_place",
    instruction="put the cube in the bowl",
    operator="test",
    outcome="success",
    contract_id=CONTRACT.id,
    software_version="0",
    created_utc=datetime.now(UTC).isoformat(),
)


def deltas(steps, seed=0):
    made = np.random.default_rng(seed).uniform(-0.02, 0.02, (steps, 7))
    made[:, 6] = np.linspace(0, 1, steps)
    return made


def empty(label=False):
    return Streams(
        images={"third_person": Stream("cameras/third_person/image_raw")},
        pose=Stream("pose"),
        width=Stream("fingers"),
        target=Stream("target_pose"),
        width_target=Stream("gripper/target"),
        label=Stream("operator") if label else None,
    )


def filled(actions, *, start_ns=7 * P, skip=(), label=None):
    """Record `actions`; the arm reaches each target. `skip` holds (stream, step) never heard."""
    streams = empty(label is not None)
    pose = START
    for step, action in enumerate(actions):
        stamp = start_ns + step * P
        target = apply_delta(pose, action[:6])
        image = np.full((64, 64, 3), step, np.uint8)
        samples = {
            "image": (streams.images["third_person"], image),
            "pose": (streams.pose, pose),
            "width": (streams.width, 0.04),
            "target": (streams.target, target),
            "width_target": (streams.width_target, action[6] * 0.08),
        }
        if label is not None:
            samples["label"] = (streams.label, apply_delta(pose, label[step][:6]))
        for name, (stream, value) in samples.items():
            if (name, step) not in skip:
                stream.push(stamp, value)
        pose = target
    return streams


@given(st.integers(1, 30), st.integers(0, 5))
def test_the_actions_that_were_commanded_are_recorded(steps, seed):
    actions = deltas(steps, seed)
    built = build(filled(actions), CONTRACT)
    np.testing.assert_allclose(built.actions, actions, atol=1e-6)
    np.testing.assert_array_equal(built.stamps_ns["step"], (7 + np.arange(steps)) * P)
    assert built.images["third_person"][:, 0, 0, 0].tolist() == list(range(steps))
    np.testing.assert_allclose(built.state[0], state_vector(START, 0.04))
    assert built.flags == ()


def test_what_was_meant_is_recorded_relative_to_what_was_executed():
    executed, meant = deltas(10), deltas(10, seed=1)
    built = build(filled(executed, label=meant), CONTRACT)
    np.testing.assert_allclose(built.actions[:, :6], meant[:, :6], atol=1e-6)
    np.testing.assert_allclose(built.actions[:, 6], executed[:, 6], atol=1e-6)


def test_an_episode_ends_at_the_step_that_was_asked_for():
    built = build(filled(deltas(10)), CONTRACT, last_ns=(7 + 4) * P)
    assert len(built.actions) == 5


def test_commands_before_the_first_complete_observation_are_the_reference():
    actions = deltas(6)
    built = build(filled(actions, skip={("image", 0), ("image", 1)}), CONTRACT)
    np.testing.assert_allclose(built.actions, actions[2:], atol=1e-6)


def test_a_missed_frame_is_flagged_and_the_last_one_stands():
    built = build(filled(deltas(6), skip={("image", 3)}), CONTRACT)
    assert built.flags == (RATE_MISSED,)
    assert built.images["third_person"][:, 0, 0, 0].tolist() == [0, 1, 2, 2, 4, 5]
    camera = built.stamps_ns["camera/third_person"]
    assert camera[3] == camera[2] == built.stamps_ns["step"][2]


def test_a_missed_command_is_flagged_and_means_staying():
    built = build(filled(deltas(6), skip={("target", 2)}), CONTRACT)
    assert built.flags == (COMMAND_HELD,)
    np.testing.assert_allclose(built.actions[2, :6], 0, atol=1e-7)


def test_a_hole_is_refused_by_its_topic():
    skip = {("pose", step) for step in range(2, 9)}
    with pytest.raises(EpisodeGapError, match=r"topic pose: nothing for 0\.60 s at step 7"):
        build(filled(deltas(12), skip=skip), CONTRACT)


def test_an_episode_without_commands_is_refused():
    streams = filled(deltas(3))
    streams.target.clear()
    with pytest.raises(EpisodeGapError, match="nothing was received on target_pose"):
        build(streams, CONTRACT)


def test_an_episode_that_ends_before_it_begins_is_refused():
    skip = {("image", step) for step in range(4)}
    with pytest.raises(EpisodeGapError, match="has no steps"):
        build(filled(deltas(5), skip=skip), CONTRACT, last_ns=8 * P)


def test_a_session_goes_round():
    session = Session()
    for leave in (session.commit, session.discard, session.fail):
        session.start()
        session.finish()
        leave()
    assert (session.committed, session.discarded, session.failed) == (1, 1, 1)


@given(st.lists(st.sampled_from(["start", "finish", "commit", "discard", "fail"])))
def test_a_session_never_leaves_its_states(events):
    session = Session()
    allowed = {State.IDLE: {"start"}, State.RECORDING: {"finish"}}
    for event in events:
        before = session.state
        if event in allowed.get(before, {"commit", "discard", "fail"}):
            getattr(session, event)()
        else:
            with pytest.raises(SessionError, match=f"while {before.value}"):
                getattr(session, event)()
            assert session.state is before


def test_the_writer_appends_and_goes_on_after_an_error(tmp_path):
    writer = EpisodeWriter(str(tmp_path / "store"), CONTRACT)
    first = writer.write(filled(deltas(5)), METADATA).result()
    assert (first.index, first.steps, first.flags) == (0, 5, ())
    with pytest.raises(EpisodeGapError):
        writer.write(empty(), METADATA).result()
    too_far = deltas(5)
    too_far[2, 0] = 0.2
    with pytest.raises(ValueError, match=r"translation at step 2 is 0\.2"):
        writer.write(filled(too_far), METADATA).result()
    second = writer.write(filled(deltas(4), skip={("image", 2)}), METADATA).result()
    assert second.flags == (RATE_MISSED,)
    assert writer.episodes == 2
    writer.close()
    store = EpisodeStore.open(tmp_path / "store", contract=CONTRACT)
    assert store.lengths.tolist() == [5, 4]
    assert store.metadata(1).flags == (RATE_MISSED,)


def test_the_writer_continues_a_store_and_refuses_another_contract(tmp_path):
    for number in range(2):
        writer = EpisodeWriter(str(tmp_path / "store"), CONTRACT)
        assert writer.write(filled(deltas(3)), METADATA).result().index == number
        with pytest.raises(StoreError, match="open for writing"):
            EpisodeWriter(str(tmp_path / "store"), CONTRACT)
        writer.close()
    with pytest.raises(ContractMismatchError, match="horizon"):
        EpisodeWriter(str(tmp_path / "store"), franka_third_person())
