"""How each topic comes in: its rate by capture stamps, its age by the wall clock, what was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

WINDOW_NS = 2_000_000_000
"""Over this much capture time a rate is measured."""
MEASURED_NS = 500_000_000
"""A rate that was measured over less says nothing yet."""
SLOW_SHARE = 0.9
"""A stream below this share of the rate it should have is slow."""


@dataclass(frozen=True, kw_only=True)
class Meter:
    """How one topic stands; `age_s` None: never heard; `expected_hz` 0: any rate will do."""

    topic: str
    rate_hz: float
    expected_hz: float
    age_s: float | None
    received: int
    dropped: int
    silent: bool
    slow: bool


class TopicMonitor:
    """Remembers when each topic was last heard, and how often.

    Repetitions count as heard: a paused lab repeats its observation, and that is not silence.
    """

    def __init__(
        self,
        topics: Iterable[str],
        *,
        timeout_s: float,
        clock_s: Callable[[], float],
        expected_hz: Mapping[str, float] | None = None,
    ) -> None:
        """Watch `topics`; one is silent when `timeout_s` went by on `clock_s` without it."""
        self._timeout_s = timeout_s
        self._clock_s = clock_s
        self._expected_hz = dict(expected_hz or {})
        self._heard_s: dict[str, float | None] = dict.fromkeys(topics)
        self._stamps: dict[str, deque[int]] = {topic: deque() for topic in self._heard_s}
        self._received = dict.fromkeys(self._heard_s, 0)
        self._dropped = dict.fromkeys(self._heard_s, 0)

    def heard(self, topic: str, stamp_ns: int | None = None) -> None:
        """Note that `topic` was heard now, with a sample captured at `stamp_ns`."""
        self._heard_s[topic] = self._clock_s()
        self._received[topic] += 1
        if stamp_ns is None:
            return
        stamps = self._stamps[topic]
        if stamps and stamp_ns <= stamps[-1]:
            return
        stamps.append(stamp_ns)
        while stamp_ns - stamps[0] > WINDOW_NS:
            stamps.popleft()

    def dropped(self, topic: str) -> None:
        """Note that a sample of `topic` was not kept."""
        self._dropped[topic] += 1

    def meters(self) -> list[Meter]:
        """Return how every topic stands."""
        now_s, silent = self._clock_s(), self.silent()
        slow = self.slow()
        return [
            Meter(
                topic=topic,
                rate_hz=self._rate_hz(topic),
                expected_hz=self._expected_hz.get(topic, 0.0),
                age_s=None if heard_s is None else now_s - heard_s,
                received=self._received[topic],
                dropped=self._dropped[topic],
                silent=topic in silent,
                slow=topic in slow,
            )
            for topic, heard_s in self._heard_s.items()
        ]

    def silent(self) -> dict[str, float | None]:
        """Return the silent topics and for how long (s) each has been silent; None = always."""
        now_s = self._clock_s()
        return {
            topic: None if heard_s is None else now_s - heard_s
            for topic, heard_s in self._heard_s.items()
            if heard_s is None or now_s - heard_s > self._timeout_s
        }

    def slow(self) -> dict[str, float]:
        """Return the topics that come slower than they should, and their rates (Hz)."""
        rates = {
            topic: self._rate_hz(topic)
            for topic in self._expected_hz
            if self._span_ns(topic) >= MEASURED_NS
        }
        return {
            topic: rate_hz
            for topic, rate_hz in rates.items()
            if rate_hz < SLOW_SHARE * self._expected_hz[topic]
        }

    def complaint(self) -> str:
        """Return a sentence that names every silent or slow topic, or "" if there is none."""
        silent = self.silent()
        if silent:
            told = ", ".join(
                f"{topic} ({'never heard' if age_s is None else f'last heard {age_s:.1f} s ago'})"
                for topic, age_s in silent.items()
            )
            return (
                f"silent topics: {told}. Check that the drivers run, that names and namespace "
                "match (`ros2 topic list`), and that ROS_DOMAIN_ID is the same everywhere."
            )
        slow = self.slow()
        if slow:
            told = ", ".join(
                f"{topic} ({rate_hz:.1f} of {self._expected_hz[topic]:.1f} Hz)"
                for topic, rate_hz in slow.items()
            )
            return (
                f"slow topics: {told}. Raise the driver's rate (a camera's exposure may limit it), "
                "free the CPU, or record under a contract of a lower rate."
            )
        return ""

    def _span_ns(self, topic: str) -> int:
        stamps = self._stamps[topic]
        return stamps[-1] - stamps[0] if stamps else 0

    def _rate_hz(self, topic: str) -> float:
        span_ns = self._span_ns(topic)
        return (len(self._stamps[topic]) - 1) * 1e9 / span_ns if span_ns else 0.0
