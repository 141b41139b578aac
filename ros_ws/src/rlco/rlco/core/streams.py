"""Streams of stamped samples, and the instants at which all of them are known.

Everything goes by capture stamps; when a sample arrived does not matter, so a lock-stepped lab, a
paced one and a real bench are read by the same code.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value and the time it was captured at."""

    stamp_ns: int
    value: Any


class Stream:
    """The samples of one topic, in the order of their stamps.

    A sample that is not newer than the newest is refused: a republished one is the same
    observation, and one from the past (a driver whose clock went back) cannot be resampled.
    """

    def __init__(self, name: str, capacity: int | None = None) -> None:
        """Name the stream (its topic) and bound how many samples are kept; None keeps all."""
        if capacity is not None and capacity < 1:
            raise ValueError(f"stream {name!r}: capacity must be at least 1, got {capacity}")
        self.name = name
        self.duplicates = 0
        self.out_of_order = 0
        self._capacity = capacity
        self._grid: tuple[int, int] | None = None
        self._stamps: list[int] = []
        self._values: list[Any] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def push(self, stamp_ns: int, value: Any) -> bool:
        """Take in a sample; return False if it was a repetition or out of order."""
        if self._stamps and stamp_ns <= self._stamps[-1]:
            if stamp_ns == self._stamps[-1]:
                self.duplicates += 1
            else:
                self.out_of_order += 1
            return False
        if self._stamps and not self.needs(self._stamps[-1], stamp_ns):
            del self._stamps[-1], self._values[-1]
        self._stamps.append(stamp_ns)
        self._values.append(value)
        if self._capacity is not None and len(self._stamps) > self._capacity:
            del self._stamps[0], self._values[0]
        return True

    def thin(self, origin_ns: int, period_ns: int) -> None:
        """From now on keep only samples in force at an instant `origin_ns` + n `period_ns`.

        What `before` says of these instants stays the same.
        """
        self._grid = (origin_ns, period_ns)
        last = len(self._stamps) - 1
        kept = [
            i
            for i in range(len(self._stamps))
            if i == last or self.needs(self._stamps[i], self._stamps[i + 1])
        ]
        self._stamps = [self._stamps[i] for i in kept]
        self._values = [self._values[i] for i in kept]

    def forget(self, before_ns: int) -> None:
        """Drop what is not needed to know the stream from `before_ns` on."""
        index = bisect.bisect_right(self._stamps, before_ns) - 1
        if index > 0:
            del self._stamps[:index], self._values[:index]

    @property
    def newest(self) -> Sample | None:
        """The newest sample, or None."""
        return self._sample(len(self._stamps) - 1)

    @property
    def oldest(self) -> Sample | None:
        """The oldest sample that is kept, or None."""
        return self._sample(0) if self._stamps else None

    def before(self, stamp_ns: int) -> Sample | None:
        """Return the newest sample captured at `stamp_ns` or earlier, or None."""
        return self._sample(bisect.bisect_right(self._stamps, stamp_ns) - 1)

    def after(self, stamp_ns: int) -> Sample | None:
        """Return the oldest sample captured later than `stamp_ns`, or None."""
        index = bisect.bisect_right(self._stamps, stamp_ns)
        return self._sample(index) if index < len(self._stamps) else None

    def clear(self) -> None:
        """Forget every sample; the counters stay."""
        self._stamps.clear()
        self._values.clear()

    def needs(self, stamp_ns: int, end_ns: int) -> bool:
        """Whether a sample that the next one replaces at `end_ns` is needed for the grid."""
        if self._grid is None:
            return True
        origin_ns, period_ns = self._grid
        steps = max(0, -((origin_ns - stamp_ns) // period_ns))
        return origin_ns + steps * period_ns < end_ns

    def _sample(self, index: int) -> Sample | None:
        if index < 0:
            return None
        return Sample(stamp_ns=self._stamps[index], value=self._values[index])


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What every stream said at one instant: stream name -> the sample in force then."""

    stamp_ns: int
    samples: Mapping[str, Sample]

    def __getitem__(self, name: str) -> Any:
        return self.samples[name].value


class Assembler:
    """Joins streams into snapshots, each a control period after the one before.

    A snapshot is due when every stream has reached a common instant: the oldest of the streams'
    newest stamps. In lock step all stamps of a step are equal, so that is the step itself; on a
    bench with free-running sensors the other streams are read at that instant, nearest before.
    """

    def __init__(self, names: Iterable[str], *, period_ns: int, max_age_ns: int) -> None:
        """Name the streams; `max_age_ns` bounds how old a sample may be in a snapshot."""
        self.streams = {name: Stream(name, capacity=64) for name in names}
        self._period_ns = period_ns
        self._max_age_ns = max_age_ns
        self._earliest_ns: int | None = None
        self._needed = tuple(self.streams)

    def need(self, names: Iterable[str]) -> None:
        """From now on wait for these streams only; later snapshots hold them alone."""
        self._needed = tuple(names)

    def push(self, name: str, stamp_ns: int, value: Any) -> Snapshot | None:
        """Take in a sample; return the snapshot that it completes, or None."""
        if not self.streams[name].push(stamp_ns, value):
            return None
        return self._due()

    def restart(self, not_before_ns: int) -> Snapshot | None:
        """Begin anew: snapshots before `not_before_ns` no longer count, a later one is due at once.

        Returns the current snapshot if it is not older than that.
        """
        self._earliest_ns = not_before_ns
        return self._due()

    def _due(self) -> Snapshot | None:
        snapshot = self.current()
        if snapshot is None:
            return None
        if self._earliest_ns is not None and snapshot.stamp_ns < self._earliest_ns:
            return None
        # Half a period of tolerance: a sensor's clock jitters, a period never shrinks by half.
        self._earliest_ns = snapshot.stamp_ns + self._period_ns - self._period_ns // 2
        return snapshot

    def current(self) -> Snapshot | None:
        """Return the newest instant at which all that is needed is known, or None."""
        needed = {name: self.streams[name] for name in self._needed}
        newest = [stream.newest for stream in needed.values()]
        if any(sample is None for sample in newest):
            return None
        stamp_ns = min(sample.stamp_ns for sample in newest if sample is not None)
        samples: dict[str, Sample] = {}
        for name, stream in needed.items():
            sample = stream.before(stamp_ns)
            if sample is None or stamp_ns - sample.stamp_ns > self._max_age_ns:
                return None
            samples[name] = sample
        return Snapshot(stamp_ns=stamp_ns, samples=samples)
