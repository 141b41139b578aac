"""Waiting inside a callback without holding up the other callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

NAP_S = 0.0002


class until:  # noqa: N801 - reads as `await until(...)`
    """Awaits a condition, at most `timeout_s` (wall clock).

    The callback that waits must be in a `ReentrantCallbackGroup`: in the node's own group it would
    keep all others from running, those that it waits for among them. rclpy polls a waiting
    coroutine without pause between the other callbacks, so each poll naps.
    """

    def __init__(
        self,
        done: Callable[[], bool],
        timeout_s: float = float("inf"),
        *,
        nap_s: float = NAP_S,
    ) -> None:
        """Take the condition; `nap_s` is how long other callbacks may wait for a poll."""
        self._done = done
        self._nap_s = nap_s
        self._deadline_s = time.monotonic() + timeout_s

    def __await__(self) -> Generator[None, None, None]:
        """Yield to the executor until the condition holds."""
        while not self._done() and time.monotonic() < self._deadline_s:
            time.sleep(self._nap_s)
            yield
