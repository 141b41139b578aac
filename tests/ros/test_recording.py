"""From streams to a built episode: resampling, builder, session, cues, buffer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco.core.buffer import BoundedBuffer
from rlco.core.cues import Bell, Quiet, Voice, cue_named
from rlco.core.episode_builder import COMMAND_HELD, RATE_MISSED, Streams, build
from rlco.core.recording import WINDOW_NS, RecordedTopics, Recording
from rlco.core.resample import EpisodeGapError, held, interpolated
from rlco.core.session import Session, SessionError, State
from rlco.core.streams import Stream
from rlco_datasets.contract import franka_compact
from rlco_datasets.frames import apply_delta, delta_between, pose_matrix, state_vector

CONTRACT = franka_compact()
P = CONTRACT.period_ns
START = pose_matrix((0.5, 0.0, 0.2), np.diag([1.0, -1.0, -1.0]))


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


def test_the_operators_own_command_is_kept_beside_what_was_let_through():
    actions = deltas(6)
    streams = filled(actions)
    raw, raw_width = Stream("teleop/target_pose"), Stream("teleop/gripper_target")
    for step in range(6):
        pose = START.copy()
        pose[0, 3] += 0.1 * step
        raw.push((7 + step) * P, pose)
        raw_width.push((7 + step) * P, 0.01 * step)
    whole = Streams(**(vars(streams) | {"raw_target": raw, "raw_width": raw_width}))
    built = build(whole, CONTRACT)
    np.testing.assert_allclose(built.actions, actions, atol=1e-6)
    told = built.extras["operator_target"]
    np.testing.assert_allclose(told[:, 0], START[0, 3] + 0.1 * np.arange(6))
    np.testing.assert_allclose(np.abs(told[:, 3:]), np.tile([0, 1, 0, 0], (6, 1)), atol=1e-12)
    np.testing.assert_allclose(built.extras["operator_width_m"], 0.01 * np.arange(6))
    assert build(streams, CONTRACT).extras == {}


@given(st.integers(1, P - 1), st.integers(0, 1000))
def test_a_pose_is_interpolated_between_its_samples(offset_ns, seed):
    delta = np.random.default_rng(seed).uniform(-0.5, 0.5, 6)
    stream = Stream("pose")
    stream.push(0, START)
    stream.push(P, apply_delta(START, delta))
    (sample,), late = interpolated(stream, np.array([offset_ns]), P)
    expected = delta * offset_ns / P
    np.testing.assert_allclose(delta_between(START, sample.value), expected, atol=1e-9)
    assert (sample.stamp_ns, late) == (offset_ns, False)


def test_a_pose_sampled_at_the_instant_is_taken_as_it_is_and_a_gap_is_not_bridged():
    stream = Stream("pose")
    stream.push(0, START)
    for stamp in (P, 3 * P):
        stream.push(stamp, apply_delta(START, np.full(6, stamp / P)))
    (first, at, gap), late = interpolated(stream, np.array([0, P, 2 * P]), P)
    assert first.value is START
    assert at.stamp_ns == gap.stamp_ns == P
    assert gap.value is at.value
    assert late


@given(
    st.lists(st.integers(1, 5 * P), min_size=1, max_size=30),
    st.integers(-3 * P, 3 * P),
)
def test_thinning_changes_nothing_that_the_grid_sees(gaps, origin_ns):
    whole, thinned, early = Stream("image"), Stream("image"), Stream("image")
    thinned.thin(origin_ns, P)
    stamps = np.cumsum(gaps).tolist()
    for number, stamp in enumerate(stamps):
        for stream in (whole, thinned, early):
            stream.push(stamp, number)
    early.thin(origin_ns, P)
    for stamp in range(origin_ns, stamps[-1] + P, P):
        assert whole.before(stamp) == thinned.before(stamp) == early.before(stamp)
    steps = max(0, (stamps[-1] - origin_ns) // P + 1)
    assert len(early) <= len(thinned) <= steps + 1


def test_a_recording_keeps_the_frames_of_its_steps_and_none_of_an_idle_hour():
    topics = RecordedTopics(
        images={"third_person": "image"}, pose="pose", width="w", target="t", width_target="wt"
    )
    recording = Recording(topics, CONTRACT)
    images = recording.streams.images["third_person"]
    stamps = range(0, 20 * WINDOW_NS, P // 3)
    for stamp in stamps:  # ten times 30 Hz, and nobody commands
        recording.push("image", stamp, stamp)
    assert len(images) <= 3 * (WINDOW_NS // P + 7)
    start = stamps[-1]
    for topic in ("pose", "w", "t", "wt"):
        recording.push(topic, start, START)
    for stamp in range(start + 1, start + 10 * P, P // 3):
        recording.push("image", stamp, stamp)
    assert len(images) <= 12
    samples, late = held(images, start + P * np.arange(9), P)
    assert not late
    assert all(0 <= start + k * P - s.stamp_ns <= P // 3 for k, s in enumerate(samples))


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def session(**options):
    made = Session(Clock(), **options)
    made.activate()
    return made


def test_a_session_goes_round():
    made = session()
    for leave in (lambda: made.commit(success=True), made.discard, made.fail):
        made.start()
        made.finish()
        leave()
    assert (made.committed, made.discarded, made.failed) == (1, 1, 1)


@given(st.lists(st.sampled_from(["start", "finish", "commit", "discard", "fail"])))
def test_a_session_never_leaves_its_states(events):
    made = session()
    allowed = {State.IDLE: {"start"}, State.RECORDING: {"finish"}}
    for event in events:
        before = made.state
        options = {"success": True} if event == "commit" else {}
        if event in allowed.get(before, {"commit", "discard", "fail"}):
            getattr(made, event)(**options)
        else:
            with pytest.raises(SessionError, match=f"while {before.value}"):
                getattr(made, event)(**options)
            assert made.state is before


def test_an_inactive_session_records_nothing():
    made = Session(Clock())
    with pytest.raises(SessionError, match="not active"):
        made.start()
    made.activate()
    made.start()
    made.deactivate()
    assert made.state is State.INACTIVE
    made.activate()
    assert made.state is State.IDLE


def test_a_session_is_complete_with_its_successes_and_goes_on_where_it_stopped():
    made = session(wanted=3, committed=1)
    for success in (True, False):
        made.start()
        made.finish()
        made.commit(success=success)
    assert (made.state, made.committed) == (State.IDLE, 2)
    made.start()
    made.finish()
    made.commit(success=True)
    assert made.state is State.COMPLETE
    with pytest.raises(SessionError, match="has its 3 episodes"):
        made.start()
    assert session(wanted=3, committed=3).state is State.COMPLETE


def test_the_reset_phase_ends_by_time_or_by_a_start():
    clock = Clock()
    made = Session(clock, reset_s=10.0)
    made.activate()
    made.start()
    made.finish()
    made.discard(again=True)
    clock.now_s = 4.0
    assert made.state is State.RESETTING
    assert made.remaining_s == pytest.approx(6.0)
    assert not made.tick()
    clock.now_s = 10.0
    assert made.tick()
    assert (made.state, made.again, made.remaining_s) == (State.IDLE, True, 0.0)
    assert not made.tick()
    made.start()
    assert not made.again
    made.finish()
    made.commit(success=True)
    made.start()
    assert made.state is State.RECORDING


def test_a_buffer_never_holds_more_than_it_may_and_never_half_a_sample():
    buffer = BoundedBuffer(10)
    assert buffer.offer(b"head", b"sample")
    assert not buffer.offer(b"h", b"s")
    assert buffer.used == 1.0
    buffer.put(b"stop")
    assert [buffer.take() for _ in range(3)] == [b"head", b"sample", b"stop"]
    assert buffer.used == 0.0
    buffer.close()
    assert not buffer.offer(b"late")
    assert buffer.take() is None


def test_cues_are_chosen_by_name(tmp_path, monkeypatch, capsys):
    assert isinstance(cue_named("none"), Quiet)
    cue_named("bell").say("ready")
    assert capsys.readouterr().err == "\aready\n"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(cue_named("speech"), Bell)
    program = tmp_path / "espeak"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "said"}\n')
    program.chmod(0o755)
    voice = cue_named("speech")
    assert isinstance(voice, Voice)
    voice.say("recording")
    assert voice._speaking.wait(60) == 0
    assert (tmp_path / "said").read_text() == "recording\n"
    with pytest.raises(ValueError, match="none, bell or speech, got 'song'"):
        cue_named("song")
