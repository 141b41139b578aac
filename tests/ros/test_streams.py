"""Streams, snapshots and silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco.core.monitor import TopicMonitor
from rlco.core.streams import Assembler, Stream

PERIOD = 100


@given(st.lists(st.integers(0, 1000)), st.integers(-10, 1010))
def test_before_is_the_newest_sample_not_after(stamps, at):
    stream = Stream("a")
    for stamp in stamps:
        stream.push(stamp, -stamp)
    kept = []
    for stamp in stamps:
        if not kept or stamp > kept[-1]:
            kept.append(stamp)
    expected = [stamp for stamp in kept if stamp <= at]
    sample = stream.before(at)
    assert (sample and sample.stamp_ns) == (expected[-1] if expected else None)
    assert sample is None or sample.value == -sample.stamp_ns
    assert len(stream) + stream.duplicates + stream.out_of_order == len(stamps)


def test_stream_tells_repetitions_from_backward_stamps():
    stream = Stream("a")
    assert stream.push(10, "x")
    assert not stream.push(10, "y")
    assert not stream.push(5, "z")
    assert (stream.duplicates, stream.out_of_order) == (1, 1)
    assert stream.newest.value == "x"


def test_stream_keeps_only_its_capacity():
    stream = Stream("a", capacity=2)
    for stamp in (1, 2, 3):
        stream.push(stamp, stamp)
    assert len(stream) == 2
    assert stream.before(1) is None
    assert stream.oldest.stamp_ns == 2


def test_stream_refuses_no_capacity():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        Stream("a", capacity=0)


def assembler(max_age=2 * PERIOD):
    return Assembler(("pose", "image"), period_ns=PERIOD, max_age_ns=max_age)


@given(st.permutations(["pose"] * 4 + ["image"] * 4))
def test_lock_step_pairs_equal_stamps_whatever_arrives_first(arrivals):
    joined = assembler(max_age=0)
    counts = dict.fromkeys(("pose", "image"), 0)
    seen = []
    for name in arrivals:
        k = counts[name]
        counts[name] += 1
        snapshot = joined.push(name, 1000 + k * PERIOD, k)
        if snapshot is not None:
            assert snapshot["pose"] == snapshot["image"]
            seen.append(snapshot["pose"])
    assert seen == [0, 1, 2, 3]


def test_lock_step_in_step_gives_every_step():
    joined = assembler(max_age=0)
    seen = []
    for k in range(5):
        assert joined.push("pose", k * PERIOD, k) is None
        assert joined.push("pose", k * PERIOD, k) is None  # repeated by the lab
        seen.append(joined.push("image", k * PERIOD, k)["image"])
        assert joined.push("image", k * PERIOD, k) is None
    assert seen == list(range(5))


def test_a_fast_stream_is_read_at_the_slow_ones_stamps():
    joined = assembler()
    seen = []
    for t in range(0, 500, 10):
        snapshots = [joined.push("pose", t, t)]
        if t % PERIOD == 3 * 10:
            snapshots.append(joined.push("image", t, t))
        seen += [s for s in snapshots if s is not None]
    assert [s["image"] for s in seen] == [30, 130, 230, 330, 430]
    assert all(s["pose"] == s.stamp_ns for s in seen)


def test_a_sample_that_is_too_old_makes_no_snapshot():
    joined = assembler(max_age=50)
    joined.push("image", 0, 0)
    assert joined.push("pose", 10, 0) is None  # nothing known of the pose at 0
    joined.push("pose", 60, 0)
    assert joined.push("image", 200, 0) is None  # at 60 the frame at 0 is 60 old
    assert joined.push("pose", 120, 0) is None  # at 120 it is 120 old
    assert joined.push("pose", 230, 0) is None  # at 200 the pose at 120 is 80 old


def test_restart_gives_the_current_snapshot_at_once_if_it_is_recent_enough():
    joined = assembler()
    joined.push("pose", 100, "p")
    joined.push("image", 100, "i")
    assert joined.restart(100).stamp_ns == 100
    assert joined.restart(101) is None
    assert joined.push("pose", 100, "p") is None
    joined.push("pose", 200, "p")
    assert joined.push("image", 200, "i").stamp_ns == 200


def test_what_is_not_needed_is_not_waited_for():
    joined = assembler(max_age=0)
    joined.push("pose", 100, "p")
    assert joined.push("image", 100, "i")["image"] == "i"
    joined.need(["pose"])
    snapshot = joined.push("pose", 200, "p")
    assert set(snapshot.samples) == {"pose"}
    joined.need(["pose", "image"])
    assert joined.push("pose", 300, "p") is None
    assert joined.push("image", 300, "i").stamp_ns == 300


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_monitor_names_the_silent_topics():
    clock = Clock()
    monitor = TopicMonitor(["a", "b"], timeout_s=1.0, clock_s=clock)
    assert monitor.silent() == {"a": None, "b": None}
    monitor.heard("a")
    clock.now_s = 0.9
    assert monitor.silent() == {"b": None}
    assert "b (never heard)" in monitor.complaint()
    monitor.heard("b")
    clock.now_s = 1.5
    assert monitor.complaint().startswith("silent topics: a (last heard 1.5 s ago)")
    monitor.heard("a")
    assert monitor.complaint() == ""


def test_monitor_measures_rates_by_capture_stamps_and_names_slow_topics():
    clock = Clock()
    monitor = TopicMonitor(
        ["fast", "slow"], timeout_s=1.0, clock_s=clock, expected_hz={"fast": 10.0, "slow": 10.0}
    )
    for step in range(100):
        monitor.heard("fast", step * 33_000_000)
        monitor.heard("fast", step * 33_000_000)  # a repetition makes nothing faster
        if step % 5 == 0:
            monitor.heard("slow", step * 33_000_000)
    monitor.dropped("slow")
    assert set(monitor.slow()) == {"slow"}
    fast, slow = monitor.meters()
    assert fast.rate_hz == pytest.approx(30.3, abs=0.1)
    assert (fast.received, fast.dropped, fast.slow) == (200, 0, False)
    assert slow.rate_hz == pytest.approx(6.06, abs=0.1)
    assert (slow.received, slow.dropped, slow.slow, slow.expected_hz) == (20, 1, True, 10.0)
    assert "slow topics: slow (6.1 of 10.0 Hz)" in monitor.complaint()
    clock.now_s = 2.0
    assert monitor.complaint().startswith("silent topics: fast")


def test_a_rate_that_was_not_measured_long_enough_is_no_complaint():
    monitor = TopicMonitor(["a"], timeout_s=1.0, clock_s=Clock(), expected_hz={"a": 100.0})
    monitor.heard("a", 0)
    monitor.heard("a", 400_000_000)
    assert monitor.complaint() == ""
    monitor.heard("a", 600_000_000)
    assert "slow topics" in monitor.complaint()


@given(st.lists(st.integers(0, 100), unique=True, min_size=1), st.integers(0, 100))
def test_forgetting_keeps_all_that_is_known_from_then_on(stamps, at):
    whole, short = Stream("a"), Stream("a")
    for stamp in sorted(stamps):
        whole.push(stamp, stamp)
        short.push(stamp, stamp)
    short.forget(at)
    assert all(short.before(t) == whole.before(t) for t in range(at, 101))
    assert all(short.after(t) == whole.after(t) for t in range(at, 101))
