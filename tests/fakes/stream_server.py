"""A bare `/v1/stream`: what it says is up to the test."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

Frame = str | bytes


class StreamServer:
    """Sends `first` to every client, then `answer(frame)` to every frame; None hangs up.

    Listens from `start` to `stop`, on one port.
    """

    def __init__(self, first: Callable[[], Frame], answer: Callable[[Frame], Frame | None]) -> None:
        self._first = first
        self._answer = answer
        self._port = 0
        self._server = None
        self._connections: list[ServerConnection] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> StreamServer:
        self._server = serve(
            self._talk, "127.0.0.1", self._port, compression=None, max_size=None, ping_interval=None
        )
        self._port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is None:
            return
        for connection in self._connections:  # first, or the server waits for their goodbyes
            with contextlib.suppress(OSError):  # the client may have hung up before
                connection.socket.shutdown(socket.SHUT_RDWR)
        self._connections.clear()
        self._server.shutdown()
        self._server = None

    def _talk(self, connection: ServerConnection) -> None:
        self._connections.append(connection)
        with contextlib.suppress(ConnectionClosed):  # clients that give up are what tests are about
            connection.send(self._first())
            for frame in connection:
                answer = self._answer(frame)
                if answer is None:
                    return
                connection.send(answer)
