"""Our own protocol over a websocket, `/v1/stream`: many observations over one connection.

The fastest way to a policy: no routing and no headers per request. Requests of several sessions may
be under way at once; replies and refusals carry the session and step they belong to.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, WebSocket

from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.websockets import (
    as_request_error,
    open_answers,
    require_size,
    send,
)
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.wire import stream, v1

MAX_UNDER_WAY = 64
"""The most requests of one connection that are answered at a time; together they are no larger
than one request may be."""
TOO_MANY = RequestError(
    429,
    "too_many_under_way",
    f"As many requests of this connection wait already as may ({MAX_UNDER_WAY}, or their bytes).",
    "Wait for replies, or open a connection for each robot.",
)


def router(gateway: Gateway, settings: EndpointSettings) -> APIRouter:
    """Return the route of `/v1/stream`."""
    routes = APIRouter()

    @routes.websocket(stream.PATH)
    async def serve(socket: WebSocket) -> None:
        await socket.accept()
        await _Stream(socket, gateway, settings).run()

    return routes


class _Stream:
    """One client's connection."""

    def __init__(self, socket: WebSocket, gateway: Gateway, settings: EndpointSettings) -> None:
        self._socket = socket
        self._gateway = gateway
        self._settings = settings
        self._open = open_answers(socket)
        self._under_way: dict[asyncio.Task[None], int] = {}
        """What is being answered, and how many bytes each request has."""

    async def run(self) -> None:
        """Answer until the client hangs up."""
        try:
            await send(self._socket, stream.encode(self._gateway.metadata()))
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                body = message.get("bytes")
                if body is None:
                    await self._answer_question(message["text"])
                elif self._has_room(len(body)):
                    task = asyncio.create_task(self._answer_observation(bytes(body)))
                    self._under_way[task] = len(body)
                    task.add_done_callback(self._under_way.pop)
                else:
                    await send(self._socket, _refusal(TOO_MANY))
        finally:
            for task in self._under_way:  # nobody is left to read their answers
                task.cancel()

    def _has_room(self, size: int) -> bool:
        """Whether a request may be taken on: the first always, more while they are small enough."""
        held = sum(self._under_way.values())
        few = len(self._under_way) < MAX_UNDER_WAY
        return not held or (few and held + size <= self._settings.max_body_bytes)

    async def _answer_observation(self, body: bytes) -> None:
        arrived_s = time.perf_counter()
        request: v1.InferRequest | None = None
        try:
            require_size(len(body), self._settings.max_body_bytes)
            request = v1.decode_request(body)
            with self._open.one():
                reply = await self._gateway.infer(request, endpoint="stream", arrived_s=arrived_s)
                await send(self._socket, v1.encode_reply(reply))
        except Exception as error:
            refusal = as_request_error(error, where=stream.PATH)
            await send(self._socket, _refusal(refusal, request))

    async def _answer_question(self, text: str) -> None:
        try:
            question = stream.decode_ask(text)
            if question.ask == "metadata":
                answer = stream.encode(self._gateway.metadata())
            else:
                self._gateway.reset(question.session)
                answer = stream.encode_reset(question.session)
        except Exception as error:
            answer = _refusal(as_request_error(error, where=stream.PATH))
        await send(self._socket, answer)


def _refusal(error: RequestError, request: v1.InferRequest | None = None) -> str:
    return stream.encode(
        stream.Refusal(
            status=error.status,
            error=error.error,
            detail=error.detail,
            remedy=error.remedy,
            session=request.session if request else "",
            step=request.step if request else -1,
        )
    )
