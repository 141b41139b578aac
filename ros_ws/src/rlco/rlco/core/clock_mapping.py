"""From a device's clock to ROS time, by the arrival of its samples.

A sample captured at device time `d` arrives at host time `h = offset + rate * d + delay`. The delay
is never negative and often near its minimum, so the points (d, h) lie above a line and touch it:
the line is the edge of their lower convex hull below the mean of `d` (Zhang, Liu, Xia: "Clock
synchronization algorithms for network measurements", INFOCOM 2002). The hull follows drift, and
ignores late arrivals altogether. What remains is the least delay itself, a constant of the device.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class MappingSettings:
    """How a device's clock is followed."""

    window_s: float = 30.0
    """How far back samples count; long against the time between prompt arrivals."""
    bucket_s: float = 0.25
    """Of each such span only the most prompt sample is kept."""
    max_skew: float = 5e-4
    """Largest drift that is believed, as a share of time; crystals stay within 1e-4."""
    skew_after_s: float = 5.0
    """Drift is not estimated over a shorter span: delays would pass for drift."""
    early_s: float = 0.002
    """A sample this much earlier than the line allows shows a jump of one of the clocks, or, before
    drift is estimated, that all before were late."""
    late_s: float = 0.5
    """A sample this late is suspected to show a jump the other way..."""
    late_for_s: float = 1.0
    """...and does if all that came within this time were as late."""

    def __post_init__(self) -> None:
        """Check that every number is positive."""
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class ClockMapping:
    """Maps the capture times of one device to host time; feed it every sample as it arrives.

    The stamps it returns rise strictly and never lie after the arrival, as long as arrivals rise;
    where the host's own clock was set back, they begin anew with it.
    """

    def __init__(self, settings: MappingSettings | None = None) -> None:
        """Start without a mapping."""
        self._settings = settings or MappingSettings()
        self._points: deque[tuple[int, int]] = deque()
        self._last_ns: int | None = None
        self._last_device_ns: int | None = None
        self._last_arrival_ns: int | None = None
        self._late_since_ns: int | None = None
        self._rate_minus_1 = 0.0
        self._anchor = (0, 0)
        self.jumps = 0

    @property
    def skew(self) -> float:
        """By how much the device's second is longer than the host's, as a share; 0 if unknown."""
        return self._rate_minus_1

    def stamp_ns(self, device_ns: int, arrival_ns: int) -> int:
        """Return the host time (ns) at which the sample was captured, up to the least delay.

        Args:
            device_ns: Capture time by the device's clock.
            arrival_ns: When the sample reached the host, by the host's clock.
        """
        host_set_back = self._last_arrival_ns is not None and arrival_ns < self._last_arrival_ns
        if host_set_back:
            self._last_ns = None
        if host_set_back or self._jumped(device_ns, arrival_ns):
            self.restart()
            self.jumps += 1
        elif self._is_prompter(device_ns, arrival_ns):
            self.restart()
        self._last_device_ns, self._last_arrival_ns = device_ns, arrival_ns
        if self._keep(device_ns, arrival_ns):
            self._fit()
        stamp = min(self._line(device_ns), arrival_ns)
        if self._last_ns is not None and stamp <= self._last_ns:
            stamp = self._last_ns + 1
        self._last_ns = stamp
        return stamp

    def restart(self) -> None:
        """Forget the mapping, as after a reconnect; stamps still rise."""
        self._points.clear()
        self._last_device_ns = self._late_since_ns = None
        self._rate_minus_1 = 0.0

    def _line(self, device_ns: int) -> int:
        """Return the line's host time. Only differences are floats: 1e18 ns has no fraction."""
        device0, host0 = self._anchor
        elapsed = device_ns - device0
        return host0 + elapsed + round(elapsed * self._rate_minus_1)

    def _jumped(self, device_ns: int, arrival_ns: int) -> bool:
        if self._last_device_ns is None:
            return False
        if device_ns < self._last_device_ns:
            return True
        late_ns = arrival_ns - self._line(device_ns)
        if late_ns < -self._settings.early_s * NS_PER_S and self._settled:
            return True
        if late_ns < self._settings.late_s * NS_PER_S:
            self._late_since_ns = None
            return False
        if self._late_since_ns is None:
            self._late_since_ns = arrival_ns
        return arrival_ns - self._late_since_ns >= self._settings.late_for_s * NS_PER_S

    def _is_prompter(self, device_ns: int, arrival_ns: int) -> bool:
        """Whether a young mapping rests on late samples only, as this one shows."""
        if self._last_device_ns is None:
            return False
        return arrival_ns - self._line(device_ns) < -self._settings.early_s * NS_PER_S

    @property
    def _settled(self) -> bool:
        span_ns = self._points[-1][0] - self._points[0][0]
        return span_ns >= self._settings.skew_after_s * NS_PER_S

    def _keep(self, device_ns: int, arrival_ns: int) -> bool:
        """Take in a sample; return whether the points to fit changed."""
        bucket = int(self._settings.bucket_s * NS_PER_S)
        if self._points and self._points[-1][0] // bucket == device_ns // bucket:
            device, arrival = self._points[-1]
            if arrival_ns - device_ns >= arrival - device:
                return False
            self._points[-1] = (device_ns, arrival_ns)
            return True
        self._points.append((device_ns, arrival_ns))
        oldest = device_ns - int(self._settings.window_s * NS_PER_S)
        while self._points[0][0] < oldest:
            self._points.popleft()
        return True

    def _fit(self) -> None:
        """Take the hull's edge below the mean, its slope kept to what a clock can do."""
        limit, rate = self._settings.max_skew, 0.0
        if self._settled:
            hull = lower_hull(self._points)
            mean = sum(device for device, _ in self._points) / len(self._points)
            left, right = next(
                (edge for edge in itertools.pairwise(hull) if edge[1][0] >= mean),
                (hull[-2], hull[-1]),
            )
            rate = (right[1] - left[1]) / (right[0] - left[0]) - 1.0
            rate = min(max(rate, -limit), limit)
        self._rate_minus_1 = rate
        device0 = self._points[0][0]
        # with a slope that was cut, the line is moved down until it is below every point again
        host0 = min(
            host - (device - device0) - round((device - device0) * rate)
            for device, host in self._points
        )
        self._anchor = (device0, host0)


def lower_hull(points: deque[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the lower convex hull of points in the order of a strictly rising first coordinate.

    The monotone chain of Andrew (1979), in whole numbers and so exact.
    """
    hull: list[tuple[int, int]] = []
    for x, y in points:
        while len(hull) >= 2:
            (x1, y1), (x2, y2) = hull[-2], hull[-1]
            if (x2 - x1) * (y - y1) > (y2 - y1) * (x - x1):
                break
            hull.pop()
        hull.append((x, y))
    return hull
