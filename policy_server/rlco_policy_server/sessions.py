"""What the server remembers of a session: that it is in use, and its last chunks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rlco_policy_server.ensembling import ChunkHistory
from rlco_policy_server.errors import RequestError

SessionKey = tuple[str, str]
"""Caller and session name: sessions of different API keys never meet."""


@dataclass(kw_only=True)
class Session:
    """One trial or episode of one caller."""

    last_s: float
    history: ChunkHistory | None = None
    voice: str = ""
    """Alias and checkpoint that `history` holds the chunks of."""


class SessionTable:
    """The sessions of one server, at most `limit`; those idle for `idle_s` are forgotten."""

    def __init__(
        self, *, limit: int, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start empty."""
        if limit < 1 or not idle_s > 0:
            raise ValueError(f"sessions need limit >= 1 and idle_s > 0, got {limit} and {idle_s}")
        self._limit = limit
        self._idle_s = idle_s
        self._clock = clock
        self._sessions: dict[SessionKey, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def touch(self, key: SessionKey) -> Session:
        """Return the session called `key`, made if there is none.

        Raises:
            RequestError: 503, if `limit` others are in use.
        """
        now_s = self._clock()
        session = self._sessions.pop(key, None)
        if session is None:
            self._forget_idle(now_s)
            if len(self._sessions) >= self._limit:
                raise RequestError(
                    503,
                    "too_many_sessions",
                    f"{len(self._sessions)} sessions are in use.",
                    "Reset sessions that ended, use one name per episode, or raise "
                    "--session-limit.",
                    {"Retry-After": "10"},
                )
            session = Session(last_s=now_s)
        session.last_s = now_s
        self._sessions[key] = session  # last: the table stays in order of use
        return session

    def remove(self, key: SessionKey) -> None:
        """Forget a session."""
        self._sessions.pop(key, None)

    def _forget_idle(self, now_s: float) -> None:
        for key, session in list(self._sessions.items()):
            if now_s - session.last_s < self._idle_s:
                break
            del self._sessions[key]
