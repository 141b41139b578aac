"""uvicorn's websocket protocol with a short way for observations.

ASGI hands every message through a queue to a task, and every reply through layers of coroutines.
An endpoint that calls `Frames.listen` is called at once instead, from the event loop, and writes
its replies directly. Whole binary frames of such a connection are unmasked while they arrive and
copied once; all others (text, fragments, control frames) go through `websockets`, as does the
handshake. The end of a connection is told to the ASGI application as ever.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, Protocol

from fastapi import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.protocol import State

from rlco_policy_server.wire.frames import (
    WHOLE_BINARY,
    WHOLE_TEXT,
    Header,
    Splitter,
    write_header,
)

EXTENSION = "rlco.frames"
SPARE_BYTES = 32 * 1024
"""How much may arrive at once between payloads, and of the first bytes of one."""
Take = Callable[[str | bytes | memoryview], None]
"""What is called with every message: text, or bytes."""


class Frames(Protocol):
    """A connection, as endpoints see it; used on the event loop only."""

    def listen(self, take: Take) -> None:
        """Call `take` with every message from now on, in the caller's context."""

    def send_frame(self, frame: str | bytes) -> None:
        """Send one message; a client that hung up meanwhile is no error.

        While the client does not read what it was sent, nothing is read from it.
        """

    def hold(self, held: bool) -> None:
        """Read nothing, or read again; what was read already is still handed over."""


def frames_of(socket: WebSocket) -> Frames:
    """Return the connection behind `socket`.

    Raises:
        RuntimeError: if the application does not run in a server of this package.
    """
    frames: Frames | None = socket.scope["extensions"].get(EXTENSION)
    if frames is None:
        raise RuntimeError("run uvicorn with ws=rlco_policy_server.frame_protocol.FrameProtocol")
    return frames


async def until_gone(socket: WebSocket) -> None:
    """Return when the client has hung up, or the server shuts down."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


class FrameProtocol(WebSocketsSansIOProtocol):
    """One connection; uvicorn makes it."""

    _take: Take | None = None
    _context: contextvars.Context
    _held = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(*args, **kwargs)
        self._splitter = Splitter(self._goes_short)

    def listen(self, take: Take) -> None:
        """See `Frames`."""
        self._take = take
        self._context = contextvars.copy_context()
        self.transport.set_protocol(_Buffered(self, self._splitter))

    def send_frame(self, frame: str | bytes) -> None:
        """See `Frames`."""
        if self.conn.state is not State.OPEN or self.transport.is_closing():
            return
        first, payload = (
            (WHOLE_TEXT, frame.encode()) if isinstance(frame, str) else (WHOLE_BINARY, frame)
        )
        self.transport.write(write_header(first, len(payload)) + payload)

    def hold(self, held: bool) -> None:
        """See `Frames`."""
        if held != self._held:
            self._held = held
            self._read_or_not()

    def handle_connect(self, event: Any) -> None:
        """Offer the short way to the application."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), EXTENSION: self}
            self.scope["extensions"] = extensions

    def split(self, data: memoryview) -> None:
        """Take what arrived after `listen`: split it into frames."""
        for piece in self._splitter.split(data):
            if self.transport.is_closing():
                return
            if piece.chosen:
                self.deliver(piece.data)
            else:
                super().data_received(bytes(piece.data))

    def send_receive_event_to_app(self) -> None:
        """Hand over a message that came through `websockets`."""
        if self._take is None:
            super().send_receive_event_to_app()
            return
        data, self.frames = b"".join(self.frames), []
        if self.curr_msg_data_type == "bytes":
            self.deliver(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.conn.send_close(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
            return
        self.deliver(text)

    def pause_writing(self) -> None:
        """Read nothing from a client that does not read."""
        super().pause_writing()
        self._read_or_not()

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._take is None or self.transport.is_closing():
            return
        if self._held or not self.writable.is_set():
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _goes_short(self, header: Header) -> bool:
        return (
            self.conn.state is State.OPEN
            and header.first == WHOLE_BINARY
            and len(header.mask) > 0
            and header.payload_size <= self.config.ws_max_size
            and not self.frames  # no message in fragments is under way
        )

    def deliver(self, message: str | bytes | memoryview) -> None:
        """Hand over a whole message."""
        if self._take is not None and not self.close_sent:
            self._context.run(self._take, message)


class _Buffered(asyncio.BufferedProtocol):
    """Lets the event loop write what arrives to where it belongs, and passes on all else."""

    def __init__(self, protocol: FrameProtocol, splitter: Splitter) -> None:
        self._protocol = protocol
        self._splitter = splitter
        self._spare = memoryview(bytearray(SPARE_BYTES))
        self._in_place = False

    def get_buffer(self, sizehint: int) -> memoryview:
        room = self._splitter.room
        self._in_place = room is not None
        return self._spare if room is None else room

    def buffer_updated(self, nbytes: int) -> None:
        if not self._in_place:
            self._protocol.split(self._spare[:nbytes])
        elif (payload := self._splitter.wrote(nbytes)) is not None:
            self._protocol.deliver(payload)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
