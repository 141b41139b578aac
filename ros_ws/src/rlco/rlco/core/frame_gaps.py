"""How many frames a camera left out, told from the times they were captured at."""

from __future__ import annotations

SLACK = 0.5
"""By this share of a period a gap may be long before a frame is missed."""


class FrameGaps:
    """Counts frames; each gap of `n` periods is `n - 1` frames that never came."""

    def __init__(self, rate_hz: float) -> None:
        """Take the rate that the camera should have."""
        self._period_ns = 1e9 / rate_hz
        self._last_ns: int | None = None
        self.received = 0
        self.missed = 0

    def frame(self, captured_ns: int) -> None:
        """Note a frame; a time before the last one begins anew, as after a reconnect."""
        self.received += 1
        if self._last_ns is not None and captured_ns > self._last_ns:
            self.missed += max(int((captured_ns - self._last_ns) / self._period_ns - SLACK), 0)
        self._last_ns = captured_ns

    def restart(self) -> None:
        """Forget when the last frame came: what follows is no gap of the camera's."""
        self._last_ns = None
