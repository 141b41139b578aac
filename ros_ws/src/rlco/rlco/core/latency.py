"""How long it takes from an observation to what it makes the arm do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOVED_M = 0.0005
"""The arm has moved when its TCP is this far from where it stood."""


def summary_ms(delays_ns: Sequence[int]) -> str:
    """Return median and 99th percentile of delays (ns) in milliseconds, as text."""
    p50, p99 = np.percentile(np.asarray(delays_ns, float) / 1e6, (50, 99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"


class MotionWatch:
    """Notes when the arm first moved on the answer to an observation."""

    def __init__(self) -> None:
        """Begin with an arm that stands still."""
        self.latency_ns: int | None = None
        """From the observation's capture to the first pose that had moved; None: not yet."""
        self._rest_m: NDArray[np.float64] | None = None

    def see(self, stamp_ns: int, T_base_tcp: NDArray[np.float64], observed_ns: int) -> None:
        """Look at a measured pose `(4, 4)`, once the answer to `observed_ns` is being executed."""
        if self._rest_m is None:
            self._rest_m = T_base_tcp[:3, 3].copy()
        moved = float(np.linalg.norm(T_base_tcp[:3, 3] - self._rest_m)) > MOVED_M
        if moved and self.latency_ns is None:
            self.latency_ns = stamp_ns - observed_ns

    @property
    def told(self) -> str:
        """The latency as text."""
        if self.latency_ns is None:
            return "no motion seen"
        return f"observation to motion {self.latency_ns / 1e6:.0f} ms"
