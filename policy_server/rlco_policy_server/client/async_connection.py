"""One websocket for asyncio; the caller bounds every wait."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Self

from rlco_policy_server.client.protocol import READ_BYTES, ConnectionLostError, StreamProtocol
from rlco_policy_server.wire.arrays import Parts

CLOSE_S = 1.0
"""How long `close` waits for the last bytes to leave."""


class AsyncStreamConnection:
    """`StreamConnection` with `await`; `open` makes one."""

    def __init__(
        self, protocol: StreamProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Speak `protocol` over a connected socket."""
        self._protocol = protocol
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str, headers: Mapping[str, str]) -> Self:
        """Connect and shake hands; the arguments and errors are those of `StreamConnection`."""
        protocol = StreamProtocol(url, headers)
        context = ssl.create_default_context() if protocol.secure else None
        streams = await asyncio.open_connection(protocol.host, protocol.port, ssl=context)
        connection = cls(protocol, *streams)
        try:
            await connection._send_due()
            while not protocol.opened:
                await connection._read()
        except BaseException:
            connection.abort()
            raise
        return connection

    async def send(self, message: str | Parts) -> None:
        """Send one text frame, or the parts of one binary frame; raises as `receive` does."""
        await self._send_due(message)

    async def receive(self) -> str | bytes:
        """Return the next message; raises `ConnectionLostError` if the server closed."""
        while not self._protocol.messages:
            await self._read()
        return self._protocol.messages.popleft()

    async def close(self) -> None:
        """Say goodbye without waiting for an answer."""
        with contextlib.suppress(OSError):  # the server is gone already
            self._writer.writelines(self._protocol.goodbye())
            self._writer.close()
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()

    def abort(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()

    async def _send_due(self, message: str | Parts | None = None) -> None:
        try:
            for data in self._protocol.outgoing(message):
                self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise ConnectionLostError(str(error)) from error

    async def _read(self) -> None:
        try:
            data = await self._reader.read(READ_BYTES)
        except ConnectionResetError as error:
            raise ConnectionLostError(str(error)) from error
        self._protocol.received(data)
        if not self._protocol.messages:
            await self._send_due()  # answers to pings
