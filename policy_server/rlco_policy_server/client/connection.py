"""One websocket over one blocking socket, without a thread, every wait bounded by a deadline."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping

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


class ConnectionLostError(OSError):
    """The server ended the connection; asking again on a new one is safe."""


class HandshakeError(Exception):
    """The server answered the handshake with an HTTP status and a body instead of a websocket."""

    def __init__(self, status: int, body: bytes) -> None:
        """Keep both for the message."""
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.body = body


class StreamConnection:
    """A connected websocket; `websockets`' protocol does the framing, this class the socket."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect and shake hands.

        Args:
            url: `ws://` or `wss://`.
            headers: what to send along with the handshake.
            deadline: when to give up, on `clock`.
            clock: monotonic seconds.

        Raises:
            TimeoutError: past the deadline.
            HandshakeError: if there is a server, but it opens no websocket.
            OSError: if there is none.
        """
        uri = parse_uri(url)
        self._clock = clock
        self._frames: deque[str | bytes] = deque()
        self._opened = False
        self._head = b""
        """The incomplete response to the handshake."""
        self._splitter = Splitter(_is_reply)
        self._protocol = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES)
        self._socket = socket.create_connection((uri.host, uri.port), self._left_s(deadline))
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if uri.secure:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=uri.host)
            request = self._protocol.connect()
            request.headers.update(headers)
            self._protocol.send_request(request)
            self._flush(deadline)
            while not self._opened:
                self._read(deadline)
        except BaseException:
            self._socket.close()
            raise

    def send(self, frame: str | Parts, *, deadline: float) -> None:
        """Send one text frame, or the parts of one binary frame; raises as `receive` does."""
        if self._protocol.state is not State.OPEN:
            raise ConnectionLostError("the connection is closed")
        if isinstance(frame, str):
            self._protocol.send_text(frame.encode())
            self._flush(deadline)
            return
        self._send_all(masked_frame(frame, secrets.token_bytes(MASK_BYTES)), deadline)

    def receive(self, *, deadline: float) -> str | bytes:
        """Return the next frame.

        Raises:
            TimeoutError: past the deadline; the connection is then of no more use.
            ConnectionLostError: if the server closed it.
        """
        while not self._frames:
            self._read(deadline)
        self._left_s(deadline)
        return self._frames.popleft()

    def close(self) -> None:
        """Say goodbye without waiting for an answer."""
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(CloseCode.GOING_AWAY)
                self._socket.setblocking(False)
                for data in self._protocol.data_to_send():
                    self._socket.send(data)
        except OSError:
            return  # the server is gone already
        finally:
            self._socket.close()

    def _left_s(self, deadline: float) -> float:
        left_s = deadline - self._clock()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _flush(self, deadline: float) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._send_all(data, deadline)

    def _send_all(self, data: bytes | memoryview, deadline: float) -> None:
        self._socket.settimeout(self._left_s(deadline))
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectionLostError(str(error)) from error

    def _read(self, deadline: float) -> None:
        self._socket.settimeout(self._left_s(deadline))
        try:
            data = self._socket.recv(READ_BYTES)
        except ConnectionResetError as error:
            raise ConnectionLostError(str(error)) from error
        if not data:
            self._protocol.receive_eof()
        elif self._opened:
            self._split(data)
        else:
            self._shake_hands(data)
        self._take_events()
        if self._frames:
            return
        if self._protocol.handshake_exc is not None and not self._opened:
            raise ConnectionLostError(str(self._protocol.handshake_exc))
        if not data or self._protocol.state in (State.CLOSING, State.CLOSED):
            reason = self._protocol.close_rcvd or "the connection ended"
            raise ConnectionLostError(str(reason))
        self._flush(deadline)  # answers to pings

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
        if self._opened:
            self._split(rest)
        else:  # a refusal, and its body
            self._protocol.receive_data(rest)

    def _split(self, data: bytes) -> None:
        for piece in self._splitter.split(data):
            if piece.chosen:
                self._frames.append(piece.data.tobytes())
            else:
                self._protocol.receive_data(piece.data.tobytes())
                self._take_events()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if event.status_code != 101:
                    raise HandshakeError(event.status_code, bytes(event.body or b""))
                self._opened = True
            elif isinstance(event, Frame):
                self._take(event)

    def _take(self, frame: Frame) -> None:
        """Keep a text or binary frame; the server never splits its messages."""
        if frame.opcode is Opcode.TEXT:
            self._frames.append(bytes(frame.data).decode(errors="replace"))
        elif frame.opcode is Opcode.BINARY:
            self._frames.append(bytes(frame.data))


def _is_reply(header: Header) -> bool:
    """Whether a frame needs nothing of `websockets`."""
    return (
        header.first == WHOLE_BINARY
        and not header.mask
        and header.payload_size <= MAX_MESSAGE_BYTES
    )
