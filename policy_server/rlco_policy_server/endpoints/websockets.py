"""What the websocket endpoints share: sending to clients that may be gone, errors, sizes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from rlco_policy_server.errors import ClientGoneError, RequestError
from rlco_policy_server.wire.arrays import WireError

logger = logging.getLogger(__name__)

WEBSOCKETS: Literal["websockets-sansio"] = "websockets-sansio"
"""uvicorn's websocket implementation: the fastest of its three, and not deprecated."""


class OpenAnswers:
    """Counts what websocket clients are waiting for, so that a server can finish it and go.

    HTTP servers wait for open requests by themselves; a websocket looks idle to them.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._count = 0
        self._closing = False
        self._idle = asyncio.Event()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold the server open while one request is answered.

        Raises:
            RequestError: 503, if the server is shutting down.
        """
        if self._closing:
            raise RequestError(
                503, "shutting_down", "The server is shutting down.", "Connect to its successor."
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if self._closing and not self._count:
                self._idle.set()

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


async def send(socket: WebSocket, frame: str | bytes) -> None:
    """Send a frame; a client that hung up meanwhile is no error."""
    if socket.application_state is not WebSocketState.CONNECTED:
        return
    try:
        if isinstance(frame, str):
            await socket.send_text(frame)
        else:
            await socket.send_bytes(frame)
    except WebSocketDisconnect:
        logger.info("an answer found its client gone")


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
