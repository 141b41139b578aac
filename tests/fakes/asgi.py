"""One `POST /v1/infer` straight into the application, without a network or an HTTP library."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from rlco_policy_server.wire.v1 import CONTENT_TYPE
from starlette.types import Message


async def post(app: FastAPI, content: bytes, *, hang_up: bool = False) -> int:
    """Return the status of the answer; `hang_up` closes the connection right after the body."""
    statuses: list[int] = []
    received: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
    if hang_up:
        received.append({"type": "http.disconnect"})

    async def receive() -> Message:
        if not received:
            await asyncio.Event().wait()  # the client stays connected and says nothing more
        return received.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/infer",
        "raw_path": b"/v1/infer",
        "query_string": b"",
        "headers": [(b"content-type", CONTENT_TYPE.encode())],
        "server": ("test", 80),
        "client": ("test", 1),
        "scheme": "http",
        "root_path": "",
    }
    await app(scope, receive, send)
    return statuses[0]
