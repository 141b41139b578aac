"""The client's side of one websocket without its socket: bytes in, messages out."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Mapping

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES, Parts
from rlco_policy_server.wire.frames import (
    MASK_BYTES,
    WHOLE_BINARY,
    Header,
    Splitter,
    masked_frame,
)

READ_BYTES = 64 * 1024
"""How much to read from the socket at a time."""


class ConnectionLostError(OSError):
    """The server ended the connection; asking again on a new one is safe."""


class HandshakeError(Exception):
    """The server answered the handshake with an HTTP status and a body instead of a websocket."""

    def __init__(self, status: int, body: bytes) -> None:
        """Keep both for the message."""
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.body = body


class StreamProtocol:
    """What to send and what came; `websockets` does all framing but that of large messages."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Prepare the handshake with `url`, `ws://` or `wss://`, which carries `headers`.

        Raises:
            InvalidURI: if `url` is none.
        """
        uri = parse_uri(url)
        self.host, self.port, self.secure = uri.host, uri.port, uri.secure
        self.opened = False
        """Whether the handshake is over."""
        self.messages: deque[str | bytes] = deque()
        """What the server said, oldest first."""
        self._head = b""
        """The incomplete response to the handshake."""
        self._splitter = Splitter(_is_reply)
        self._protocol = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES)
        request = self._protocol.connect()
        request.headers.update(headers)
        self._protocol.send_request(request)

    def outgoing(self, message: str | Parts | None = None) -> list[bytes | memoryview]:
        """Return what is due (the handshake, answers to pings), and then `message`.

        A message is a text frame, or the parts of one binary frame.

        Raises:
            ConnectionLostError: if the connection is closed.
        """
        if message is not None and self._protocol.state is not State.OPEN:
            raise ConnectionLostError("the connection is closed")
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        due: list[bytes | memoryview] = [data for data in self._protocol.data_to_send() if data]
        if message is not None and not isinstance(message, str):
            due.append(masked_frame(message, secrets.token_bytes(MASK_BYTES)))
        return due

    def goodbye(self) -> list[bytes]:
        """Return what ends the connection."""
        if self._protocol.state is not State.OPEN:
            return []
        self._protocol.send_close(CloseCode.GOING_AWAY)
        return self._protocol.data_to_send()

    def received(self, data: bytes) -> None:
        """Take what arrived; empty: the end.

        Raises:
            HandshakeError: if there is a server, but it opens no websocket.
            ConnectionLostError: if it closed the connection and left no message.
        """
        if not data:
            self._protocol.receive_eof()
        elif self.opened:
            self._split(data)
        else:
            self._shake_hands(data)
        self._take_events()
        if self.messages:
            return
        if self._protocol.handshake_exc is not None and not self.opened:
            raise ConnectionLostError(str(self._protocol.handshake_exc))
        if not data or self._protocol.state in (State.CLOSING, State.CLOSED):
            reason = self._protocol.close_rcvd or "the connection ended"
            raise ConnectionLostError(str(reason))

    def _shake_hands(self, data: bytes) -> None:
        """Give `websockets` the response; what follows it in the same packet is a frame already."""
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            if len(head) > READ_BYTES:
                raise ConnectionLostError("the server answered the handshake with endless headers")
            self._head = head
            return
        self._head = b""
        self._protocol.receive_data(head + end)
        self._take_events()
        if self.opened:
            self._split(rest)
        else:  # a refusal, and its body
            self._protocol.receive_data(rest)

    def _split(self, data: bytes) -> None:
        for piece in self._splitter.split(data):
            if piece.chosen:
                self.messages.append(piece.data.tobytes())
            else:
                self._protocol.receive_data(piece.data.tobytes())
                self._take_events()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if event.status_code != 101:
                    raise HandshakeError(event.status_code, bytes(event.body or b""))
                self.opened = True
            elif isinstance(event, Frame):
                self._take(event)

    def _take(self, frame: Frame) -> None:
        """Keep a text or binary frame; the server never splits its messages."""
        if frame.opcode is Opcode.TEXT:
            self.messages.append(bytes(frame.data).decode(errors="replace"))
        elif frame.opcode is Opcode.BINARY:
            self.messages.append(bytes(frame.data))


def _is_reply(header: Header) -> bool:
    """Whether a frame needs nothing of `websockets`."""
    return (
        header.first == WHOLE_BINARY
        and not header.mask
        and header.payload_size <= MAX_MESSAGE_BYTES
    )
