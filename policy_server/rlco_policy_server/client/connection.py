"""One websocket over one blocking socket, without a thread, every wait bounded by a deadline."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping

from rlco_policy_server.client.protocol import READ_BYTES, ConnectionLostError, StreamProtocol
from rlco_policy_server.wire.arrays import Parts


class StreamConnection:
    """A connected websocket; `StreamProtocol` says what to send, this class owns the socket."""

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
        self._protocol = protocol = StreamProtocol(url, headers)
        self._clock = clock
        self._socket = socket.create_connection(
            (protocol.host, protocol.port), self._left_s(deadline)
        )
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if protocol.secure:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=protocol.host)
            self._send_due(deadline)
            while not protocol.opened:
                self._read(deadline)
        except BaseException:
            self._socket.close()
            raise

    def send(self, message: str | Parts, *, deadline: float) -> None:
        """Send one text frame, or the parts of one binary frame; raises as `receive` does."""
        self._send_due(deadline, message)

    def receive(self, *, deadline: float) -> str | bytes:
        """Return the next message.

        Raises:
            TimeoutError: past the deadline; the connection is then of no more use.
            ConnectionLostError: if the server closed it.
        """
        while not self._protocol.messages:
            self._read(deadline)
        self._left_s(deadline)
        return self._protocol.messages.popleft()

    def close(self) -> None:
        """Say goodbye without waiting for an answer."""
        try:
            self._socket.setblocking(False)
            for data in self._protocol.goodbye():
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

    def _send_due(self, deadline: float, message: str | Parts | None = None) -> None:
        for data in self._protocol.outgoing(message):
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
        self._protocol.received(data)
        if not self._protocol.messages:
            self._send_due(deadline)  # answers to pings
