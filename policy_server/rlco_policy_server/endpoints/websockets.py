"""What the websocket endpoints share: open answers, errors, sizes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import WebSocket

from rlco_policy_server.errors import ClientGoneError, RequestError
from rlco_policy_server.wire.arrays import WireError

logger = logging.getLogger(__name__)


class OpenAnswers:
    """Counts what websocket clients are waiting for, so that a server can finish it and go.

    HTTP servers wait for open requests by themselves; a websocket looks idle to them.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._count = 0
        self._closing = False
        self._idle = asyncio.Event()

    def require_open(self) -> None:
        """Refuse new requests of a server that is shutting down.

        Raises:
            RequestError: 503.
        """
        if self._closing:
            raise RequestError(
                503, "shutting_down", "The server is shutting down.", "Connect to its successor."
            )

    def begin(self) -> None:
        """Hold the server open until the `end` of one more answer."""
        self._count += 1

    def end(self) -> None:
        """Note that an answer was given, or is no longer wanted."""
        self._count -= 1
        if self._closing and not self._count:
            self._idle.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold the server open while one request is answered; raises as `require_open` does."""
        self.require_open()
        self.begin()
        try:
            yield
        finally:
            self.end()

    async def finish(self, timeout_s: float) -> bool:
        """Take nothing new and wait for what is open; False if that took over `timeout_s`."""
        self._closing = True
        if not self._count:
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


def open_answers(socket: WebSocket) -> OpenAnswers:
    """Return the counter of the application that `socket` is connected to."""
    counter: OpenAnswers = socket.app.state.open_answers
    return counter


def require_size(size: int, limit: int) -> None:
    """Refuse a frame of more than `limit` bytes.

    Raises:
        RequestError: 413.
    """
    if size > limit:
        raise RequestError(
            413,
            "body_too_large",
            f"The message has {size} bytes, the limit is {limit}.",
            "Send the camera at the contract's source resolution or policy size.",
        )


def as_request_error(error: Exception, *, where: str) -> RequestError:
    """Return what a websocket's client is told about `error`, which was raised answering it."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, WireError):
        return RequestError(
            400, "malformed_body", str(error), "docs/serving.md describes the messages."
        )
    if isinstance(error, ClientGoneError):
        return RequestError(400, "client_gone", "The client hung up.", "Nobody reads this.")
    logger.error("a request over %s failed", where, exc_info=error)
    return RequestError(
        500,
        "server_error",
        f"The server failed with {type(error).__name__}.",
        "This is a defect of the server; its log has the traceback.",
    )
