"""How often one caller may ask: a token bucket for each API key."""

from __future__ import annotations

import time
from collections.abc import Callable

from rlco_policy_server.context import ANONYMOUS
from rlco_policy_server.errors import RequestError


class RateLimiter:
    """Allows `rate_hz` requests a second to each key, and bursts of one second's worth.

    Without a key file everybody is anonymous and on this machine; nobody is limited then.
    """

    def __init__(self, rate_hz: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets."""
        if not rate_hz > 0:
            raise ValueError(f"rate limit must be positive, got {rate_hz}")
        self._rate_hz = rate_hz
        self._burst = max(1.0, rate_hz)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def require(self, caller: str) -> None:
        """Count one request of `caller`.

        Raises:
            RequestError: 429, if it came too soon.
        """
        if caller == ANONYMOUS:
            return
        now_s = self._clock()
        tokens, last_s = self._buckets.get(caller, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - last_s) * self._rate_hz)
        if tokens < 1:
            self._buckets[caller] = (tokens, now_s)
            raise RequestError(
                429,
                "rate_limited",
                f"Key {caller!r} asks more than {self._rate_hz:g} times a second.",
                "Ask once per executed chunk, or start rlco-serve with a higher --rate-limit.",
                {"Retry-After": "1"},
            )
        self._buckets[caller] = (tokens - 1, now_s)
