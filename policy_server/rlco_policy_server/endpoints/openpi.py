"""openpi's websocket protocol, at `/`: the unmodified `openpi-client` and its broker can connect.

The server opens with a metadata map; every binary request gets one binary reply `{"actions",
"server_timing", "policy_timing", ...}`. A refusal is a text frame, after which the server hangs up
with code 1011, as openpi's does. `/?policy=ALIAS` asks one of several policies.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from typing import Any

from fastapi import APIRouter, WebSocket, status
from starlette.websockets import WebSocketDisconnect

from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.translate import Caller, Translated, describe, infer
from rlco_policy_server.endpoints.websockets import (
    as_request_error,
    open_answers,
    require_size,
)
from rlco_policy_server.errors import RequestError
from rlco_policy_server.frame_protocol import frames_of, until_gone
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.keymaps import KeyMap
from rlco_policy_server.wire import numpy_msgpack

PATH = "/openpi"
ENDPOINT = "openpi"


def router(gateway: Gateway, settings: EndpointSettings) -> APIRouter:
    """Return the routes of openpi's protocol: `/openpi`, and `/` unless that is RoboArena's."""
    routes = APIRouter()

    @routes.websocket(PATH)
    async def serve(socket: WebSocket) -> None:
        await OpenpiConversation(socket, gateway, settings, settings.keymap_of(ENDPOINT)).run()

    if settings.root == ENDPOINT:
        routes.add_api_websocket_route("/", serve)
    return routes


class OpenpiConversation:
    """One client's connection, one request at a time."""

    endpoint = ENDPOINT

    def __init__(
        self, socket: WebSocket, gateway: Gateway, settings: EndpointSettings, keymap: KeyMap
    ) -> None:
        """Talk over `socket`, which is not accepted yet."""
        self._socket = socket
        self._settings = settings
        self._open = open_answers(socket)
        self._frames = frames_of(socket)
        self._messages: deque[str | bytes | memoryview] = deque()
        self._awaited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._step = 0
        self._previous_ms: float | None = None
        self.gateway = gateway
        self.keymap = keymap
        self.policy = socket.query_params.get("policy")
        self.session = f"{self.endpoint}-{uuid.uuid4().hex[:12]}"

    async def run(self) -> None:
        """Answer until the client hangs up or is refused."""
        self._frames.listen(self._keep)
        await self._socket.accept()
        talking = asyncio.create_task(self._talk())
        try:
            await until_gone(self._socket)
        finally:
            talking.cancel()
            await asyncio.wait((talking,))
            self.gateway.reset(self.session)

    def metadata(self) -> dict[str, Any]:
        """Return what the server says first."""
        return {"protocol": ENDPOINT} | describe(self.gateway, self.keymap, self.policy)

    async def answer(self, fields: dict[str, Any], arrived_s: float) -> str | bytes:
        """Return the frame that answers a request's fields."""
        done = await self.ask(fields, arrived_s)
        total_ms = 1e3 * (time.perf_counter() - arrived_s)
        timing = {"infer_ms": total_ms, "queue_ms": done.reply.timing.queue_ms}
        if self._previous_ms is not None:
            timing["prev_total_ms"] = self._previous_ms
        self._previous_ms = total_ms
        return numpy_msgpack.pack(
            {
                "actions": done.actions,
                "target_times_ns": done.reply.target_times_ns,
                "policy_id": done.reply.policy_id,
                "server_timing": timing,
                "policy_timing": {"infer_ms": done.reply.timing.infer_ms},
            }
        )

    async def ask(
        self, fields: dict[str, Any], arrived_s: float, *, needs_state: bool = False
    ) -> Translated:
        """Return the chunk for a request's fields."""
        caller = Caller(
            endpoint=self.endpoint,
            policy=self.policy,
            session=self.session,
            step=self._step,
            arrived_s=arrived_s,
            needs_state=needs_state,
        )
        self._step += 1
        return await infer(self.gateway, self.keymap, fields, caller)

    def _first(self) -> dict[str, Any]:
        """Return the metadata; its readers cannot read a refusal yet, so that it says why not."""
        try:
            return self.metadata()
        except RequestError as error:
            return {"protocol": self.endpoint, "error": str(error)}

    async def _talk(self) -> None:
        """Answer one message after another, and hang up on the first that is refused."""
        try:
            self._frames.send_frame(numpy_msgpack.pack(self._first()))
            while True:
                message = await self._next()
                with self._open.one():
                    self._frames.send_frame(await self._answer(message))
        except Exception as error:
            refusal = as_request_error(error, where=PATH)
            self._frames.send_frame(f"{refusal.status} {refusal.error}: {refusal}")
            with contextlib.suppress(WebSocketDisconnect):
                await self._socket.close(status.WS_1011_INTERNAL_ERROR, refusal.error)

    async def _answer(self, message: str | bytes | memoryview) -> str | bytes:
        arrived_s = time.perf_counter()
        if isinstance(message, str):
            raise RequestError(
                400,
                "malformed_body",
                "A text frame came where a msgpack observation was due.",
                "Send what openpi-client packs, as a binary frame.",
            )
        require_size(len(message), self._settings.max_body_bytes)
        return await self.answer(numpy_msgpack.unpack(message, what="observation"), arrived_s)

    def _keep(self, message: str | bytes | memoryview) -> None:
        """Keep a message for its turn; nothing more is read while one waits."""
        self._messages.append(message)
        if not self._awaited.done():
            self._awaited.set_result(None)
        else:
            self._frames.hold(True)

    async def _next(self) -> str | bytes | memoryview:
        if not self._messages:
            self._frames.hold(False)
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
        return self._messages.popleft()
