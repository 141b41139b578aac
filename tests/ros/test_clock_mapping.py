"""The mapping of a device's clock, against clocks whose truth is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco.core.clock_mapping import ClockMapping, MappingSettings, lower_hull

PERIOD_NS = 33_333_333
HOST0_NS = 1_800_000_000_000_000_000  # as large as ROS time: floats would lose 256 ns here


def feed(mapping, host_true_ns, device_ns, delay_ns):
    arrivals = np.maximum.accumulate(host_true_ns + delay_ns)
    arrivals += np.arange(len(arrivals))  # frames come one after the other
    stamps = [mapping.stamp_ns(int(d), int(a)) for d, a in zip(device_ns, arrivals, strict=True)]
    return np.array(stamps), arrivals


def clocks(frames, skew_ppm, device0_ns=7_000_000_000):
    elapsed = np.arange(frames, dtype=np.int64) * PERIOD_NS
    device = device0_ns + elapsed + np.rint(elapsed * skew_ppm * 1e-6).astype(np.int64)
    return HOST0_NS + elapsed, device


def delays(frames, seed, least_ns=2_000_000, jitter_ns=3_000_000, late_share=0.1):
    rng = np.random.default_rng(seed)
    jitter = rng.exponential(jitter_ns, frames)
    late = rng.random(frames) < late_share
    return (least_ns + jitter + late * rng.uniform(0, 60e6, frames)).astype(np.int64)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), skew_ppm=st.floats(-100, 100))
def test_stamps_are_the_capture_times_plus_the_least_delay(seed, skew_ppm):
    host, device = clocks(900, skew_ppm)
    stamps, arrivals = feed(ClockMapping(), host, device, delays(900, seed))
    error = stamps - host
    assert (stamps <= arrivals).all()
    assert (np.diff(stamps) > 0).all()
    settled = error[400:]
    assert (np.abs(settled - 2_000_000) < 1_500_000).all(), settled.max()
    # by arrival alone the stamps would jitter by tens of milliseconds
    assert np.std(settled) < 0.1 * np.std((arrivals - host)[400:])


def test_drift_is_found():
    host, device = clocks(1500, skew_ppm=80.0)
    mapping = ClockMapping()
    feed(mapping, host, device, delays(1500, 1))
    assert mapping.skew == pytest.approx(-80e-6, abs=25e-6)
    assert mapping.jumps == 0


@settings(max_examples=6, deadline=None)
@given(jump_ms=st.one_of(st.integers(-5_000_000, -40), st.integers(10, 5_000_000)))
def test_it_recovers_from_a_jump_of_the_device(jump_ms):
    host, device = clocks(600, 20.0)
    device[300:] += jump_ms * 1_000_000
    mapping = ClockMapping()
    stamps, arrivals = feed(mapping, host, device, delays(600, 2, late_share=0.0))
    assert mapping.jumps >= 1
    assert (np.diff(stamps) > 0).all()
    assert (stamps <= arrivals).all()
    assert np.abs(stamps - host)[330:].max() < 15_000_000


def test_a_host_clock_set_back_begins_anew():
    host, device = clocks(200, 0.0)
    mapping = ClockMapping()
    delay = delays(200, 3, late_share=0.0)
    for number, (h, d) in enumerate(zip(host + delay, device, strict=True)):
        back_ns = 3600 * 10**9 if number >= 100 else 0
        stamp = mapping.stamp_ns(int(d), int(h) - back_ns)
        assert stamp <= h - back_ns
    assert mapping.jumps == 1
    assert abs(stamp - (host[-1] - back_ns)) < 15_000_000


def test_a_host_clock_set_forward_is_believed_after_a_second():
    host, device = clocks(300, 0.0)
    mapping = ClockMapping()
    for number, (h, d) in enumerate(zip(host, device, strict=True)):
        ahead_ns = 10 * 10**9 if number >= 150 else 0
        stamp = mapping.stamp_ns(int(d), int(h) + ahead_ns + 2_000_000)
    assert mapping.jumps == 1
    assert abs(stamp - (host[-1] + ahead_ns)) < 5_000_000


def test_a_stall_of_the_host_is_no_jump():
    host, device = clocks(300, 0.0)
    delay = delays(300, 4, late_share=0.0)
    delay[150:165] += np.arange(15, 0, -1) * PERIOD_NS  # half a second comes in one burst
    mapping = ClockMapping()
    stamps, _ = feed(mapping, host, device, delay)
    assert mapping.jumps == 0
    assert np.abs(stamps - host)[10:].max() < 12_000_000


def test_a_repeated_capture_time_is_no_jump():
    mapping = ClockMapping()
    first = mapping.stamp_ns(10**9, HOST0_NS)
    assert mapping.stamp_ns(10**9, HOST0_NS + 5_000_000) == first + 1
    assert mapping.jumps == 0


@settings(deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=2, max_size=40))
def test_the_hull_is_below_every_point_and_convex(heights):
    points = list(enumerate(heights))
    hull = lower_hull(points)
    assert hull[0] == points[0]
    assert hull[-1] == points[-1]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(hull)]
    assert slopes == sorted(slopes)
    below = np.interp(range(len(points)), *zip(*hull, strict=True))
    assert (below <= np.array(heights) + 1e-6).all()


def test_settings_must_be_positive():
    with pytest.raises(ValueError, match="window_s must be positive, got 0"):
        MappingSettings(window_s=0)
