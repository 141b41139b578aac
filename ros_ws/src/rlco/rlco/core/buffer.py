"""A queue between a callback that must not wait and a thread that may."""

from __future__ import annotations

import threading
from collections import deque


class BoundedBuffer:
    """Byte strings, first in, first out; at most so many bytes wait at once."""

    def __init__(self, capacity_bytes: int) -> None:
        """Bound what waits."""
        self._capacity_bytes = capacity_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def offer(self, *parts: bytes) -> bool:
        """Put in parts that belong together, or none; return False at once if there is no room."""
        size = sum(map(len, parts))
        with self._changed:
            if self._closed or self._bytes + size > self._capacity_bytes:
                return False
            self._append(parts, size)
        return True

    def put(self, *parts: bytes) -> None:
        """Put in parts whether or not there is room: for the few words that must get through."""
        with self._changed:
            self._append(parts, sum(map(len, parts)))

    def take(self) -> bytes | None:
        """Wait for the next byte string; None when the buffer is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._bytes -= len(item)
            return item

    def close(self, *, drop: bool = False) -> None:
        """Let `take` end when nothing is left; `drop`: leave nothing."""
        with self._changed:
            if drop:
                self._waiting.clear()
                self._bytes = 0
            self._closed = True
            self._changed.notify_all()

    @property
    def used(self) -> float:
        """The share of the capacity that waits."""
        return self._bytes / self._capacity_bytes

    def _append(self, parts: tuple[bytes, ...], size: int) -> None:
        self._waiting.extend(parts)
        self._bytes += size
        self._changed.notify()
