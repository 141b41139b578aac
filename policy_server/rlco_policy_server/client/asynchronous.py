"""`AsyncPolicyClient`: the client for asyncio programs; one connection, one question at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract

from rlco_policy_server.client.async_connection import AsyncStreamConnection
from rlco_policy_server.client.exchange import Exchange, Inference
from rlco_policy_server.client.protocol import ConnectionLostError
from rlco_policy_server.wire import stream
from rlco_policy_server.wire.arrays import Parts
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import Reply

MakeFrame = Callable[[float], str | Parts | None]
"""What to send, from the seconds that are left; None: only connect."""


class AsyncPolicyClient:
    """`PolicyClient` with `await`: the same calls, checks, errors and deadlines.

    Calls from several tasks wait for each other; for parallel sessions use a client each.

        async with AsyncPolicyClient("http://127.0.0.1:8000", contract) as client:
            reply = await client.infer(...)
    """

    def __init__(
        self,
        url: str,
        contract: Contract,
        *,
        timeout_s: float = 1.0,
        api_key: str | None = None,
        jpeg_quality: int | None = None,
    ) -> None:
        """Prepare a client; the arguments are those of `PolicyClient`.

        The connection is opened, and the contract checked, by `async with` or the first call.
        """
        self._exchange = Exchange(
            url=url,
            contract=contract,
            timeout_s=timeout_s,
            api_key=api_key,
            jpeg_quality=jpeg_quality,
        )
        self._connection: AsyncStreamConnection | None = None
        self._turn = asyncio.Lock()

    async def metadata(self) -> ServerMetadata:
        """Ask what the server serves now."""
        ask = stream.encode(stream.Ask(ask="metadata"))
        return self._exchange.answered_metadata(await self._call(lambda left_s: ask))

    async def reset(self, session: str) -> None:
        """Tell the server that the next observation of `session` begins an episode."""
        ask = stream.encode(stream.Ask(ask="reset", session=session))
        self._exchange.answered_reset(await self._call(lambda left_s: ask), session)

    async def infer(
        self,
        *,
        images: Mapping[str, NDArray[np.uint8]],
        state: NDArray[np.floating[Any]],
        instruction: str,
        session: str,
        step: int,
        stamp_ns: int,
        policy: str | None = None,
        prefix: NDArray[np.floating[Any]] | None = None,
        delay_s: float | None = None,
    ) -> Reply:
        """Return the chunk for one observation; `PolicyClient.infer` says what is what."""
        inference = Inference(
            images=images,
            state=state,
            instruction=instruction,
            session=session,
            step=step,
            stamp_ns=stamp_ns,
            policy=policy,
            prefix=prefix,
            delay_s=delay_s,
        )
        frame = await self._call(
            lambda left_s: self._exchange.request(inference, deadline_s=max(0.0, left_s))
        )
        return self._exchange.reply(frame, inference)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        """Connect, and check that the server speaks the contract."""
        await self._call(lambda left_s: None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self.close()

    async def _call(self, frame: MakeFrame) -> str | bytes:
        """Return the answer to `frame(seconds left)`, complete before the deadline."""
        deadline = asyncio.get_running_loop().time() + self._exchange.timeout_s
        with self._exchange.named_errors():
            async with asyncio.timeout_at(deadline), self._turn:
                fresh = self._connection is None
                try:
                    return await self._ask(frame, deadline)
                except ConnectionLostError:
                    if fresh:
                        raise
                    return await self._ask(frame, deadline)  # as `PolicyClient` does

    async def _ask(self, frame: MakeFrame, deadline: float) -> str | bytes:
        try:
            if self._connection is None:
                url, headers = self._exchange.stream_url, self._exchange.headers
                self._connection = await AsyncStreamConnection.open(url, headers)
                self._exchange.opened(await self._connection.receive())
            question = frame(deadline - asyncio.get_running_loop().time())
            if question is None:
                return ""
            await self._connection.send(question)
            return await self._connection.receive()
        except BaseException:  # with the connection, whatever the server still sends
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.abort()
            raise
