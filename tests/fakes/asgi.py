"""Requests straight into the application, without a network or an HTTP library."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from rlco_policy_server.frame_protocol import EXTENSION, Take
from rlco_policy_server.wire.v1 import CONTENT_TYPE
from starlette.types import Message

Frame = str | bytes


def scope(kind: str, path: str, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "server": ("test", 80),
        "client": ("test", 1),
        "scheme": "http" if kind == "http" else "ws",
        "root_path": "",
    } | more


async def post(
    app: FastAPI,
    content: bytes,
    *,
    path: str = "/v1/infer",
    content_type: str = CONTENT_TYPE,
    hang_up: bool = False,
) -> int:
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

    headers = [(b"content-type", content_type.encode())]
    await app(scope("http", path, method="POST", headers=headers), receive, send)
    return statuses[0]


class FakeFrames:
    """The connection that `rlco_policy_server.frame_protocol` gives to endpoints, without one."""

    def __init__(self, sent: Callable[[str | bytes], None]) -> None:
        self._sent = sent
        self.take: Take | None = None

    def listen(self, take: Take) -> None:
        self.take = take

    def send_frame(self, frame: str | bytes) -> None:
        self._sent(frame)

    def hold(self, held: bool) -> None:
        pass


async def converse(
    app: FastAPI, path: str, frame: Frame, headers: Mapping[str, str] | None = None
) -> int:
    """Open a websocket, send one frame, hang up after its answer; return the answer's status.

    A chunk, or any other answer that is no refusal, is 200.
    """
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    answers: list[str | bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1011})

    def sent(answer: str | bytes) -> None:
        answers.append(answer)
        if len(answers) == 1:  # greeted
            assert frames.take is not None
            asyncio.get_running_loop().call_soon(frames.take, frame)
        elif not str(answer)[:3].isdigit():  # the server does not hang up by itself
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

    frames = FakeFrames(sent)
    await app(
        scope(
            "websocket",
            path,
            subprotocols=[],
            extensions={EXTENSION: frames},
            headers=[(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        ),
        inbox.get,
        send,
    )
    text = answers[1] if isinstance(answers[1], str) else ""
    refused = re.match(r"(\d{3}) \w+: ", text)
    if refused:
        return int(refused[1])
    return int(json.loads(text).get("status", 200)) if text.startswith("{") else 200
