"""Our own protocol over a websocket, `/v1/stream`: many observations over one connection.

The fastest way to a policy: no routing and no headers per request. Requests of several sessions may
be under way at once; replies and refusals carry the session and step they belong to.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, WebSocket

from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.websockets import (
    as_request_error,
    open_answers,
    require_size,
)
from rlco_policy_server.errors import RequestError
from rlco_policy_server.frame_protocol import frames_of, until_gone
from rlco_policy_server.gateway import Gateway, Question
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
        await _Stream(socket, gateway, settings).run()

    return routes


class _Stream:
    """One client's connection."""

    def __init__(self, socket: WebSocket, gateway: Gateway, settings: EndpointSettings) -> None:
        self._socket = socket
        self._frames = frames_of(socket)
        self._gateway = gateway
        self._settings = settings
        self._answers = open_answers(socket)
        self._under_way: dict[Question, int] = {}
        """What is being answered, and how many bytes each request has."""

    async def run(self) -> None:
        """Answer until the client hangs up."""
        self._frames.listen(self._take)
        await self._socket.accept()
        self._frames.send_frame(stream.encode(self._gateway.metadata()))
        try:
            await until_gone(self._socket)
        finally:
            for question in self._under_way:  # nobody is left to read their answers
                question.cancel()
                self._answers.end()

    def _take(self, message: str | bytes | memoryview) -> None:
        if isinstance(message, str):
            self._answer_question(message)
        elif self._has_room(len(message)):
            self._ask(message)
        else:
            self._frames.send_frame(_refusal(TOO_MANY))

    def _has_room(self, size: int) -> bool:
        """Whether a request may be taken on: the first always, more while they are small enough."""
        if not self._under_way:
            return True
        held = sum(self._under_way.values())
        few = len(self._under_way) < MAX_UNDER_WAY
        return few and held + size <= self._settings.max_body_bytes

    def _ask(self, body: bytes | memoryview) -> None:
        arrived_s = time.perf_counter()
        request: v1.InferRequest | None = None

        def done(result: v1.Reply | Exception) -> None:
            del self._under_way[question]
            self._answers.end()
            if isinstance(result, v1.Reply):
                self._frames.send_frame(v1.encode_reply(result))
            else:
                self._refuse(result, request)

        try:
            require_size(len(body), self._settings.max_body_bytes)
            request = v1.decode_request(body)
            self._answers.require_open()
            question = self._gateway.ask(request, endpoint="stream", done=done, arrived_s=arrived_s)
        except Exception as error:
            self._refuse(error, request)
            return
        self._answers.begin()
        self._under_way[question] = len(body)

    def _refuse(self, error: Exception, request: v1.InferRequest | None) -> None:
        refusal = as_request_error(error, where=stream.PATH)
        self._frames.send_frame(_refusal(refusal, request))

    def _answer_question(self, text: str) -> None:
        try:
            question = stream.decode_ask(text)
            if question.ask == "metadata":
                answer = stream.encode(self._gateway.metadata())
            else:
                self._gateway.reset(question.session)
                answer = stream.encode_reset(question.session)
        except Exception as error:
            answer = _refusal(as_request_error(error, where=stream.PATH))
        self._frames.send_frame(answer)


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
