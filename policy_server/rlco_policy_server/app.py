"""The FastAPI application: decode, check, hand to the inference thread, encode."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib.metadata import version

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from rlco_datasets import spec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rlco_policy_server.engine import Answer, Engine
from rlco_policy_server.errors import RequestError
from rlco_policy_server.observation import require_contract
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.wire import v1
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES, WireError
from rlco_policy_server.wire.metadata import ServerMetadata

logger = logging.getLogger(__name__)

MSGPACK_TYPES = (v1.CONTENT_TYPE, "application/x-msgpack", "application/vnd.msgpack")
INFER_DOC = {
    "requestBody": {
        "required": True,
        "description": "An observation; `rlco_policy_server.wire.v1` states the fields.",
        "content": {v1.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def create_app(engine: Engine, *, max_body_bytes: int = MAX_MESSAGE_BYTES) -> FastAPI:
    """Return the application that serves the policies of `engine`, which the caller has started.

    The application closes the engine when it shuts down, after the open requests were answered.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(title="rlco policy server", version=software_version(), lifespan=lifespan)
    _answer_errors(app)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process is alive."""
        return "OK\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz() -> Response:
        """The policies are warm and requests are taken."""
        if engine.ready:
            return PlainTextResponse("OK\n")
        return PlainTextResponse("not ready\n", status_code=503)

    @app.get("/v1/metadata")
    async def metadata() -> JSONResponse:
        """What is served: contract, horizon, rate and ids of every policy."""
        return JSONResponse(
            spec.to_plain(
                ServerMetadata(
                    policies=engine.policies.metadata(),
                    default_policy=engine.policies.default,
                    blind=engine.policies.blind,
                    software_version=software_version(),
                )
            )
        )

    @app.post("/v1/infer", response_class=Response, openapi_extra=INFER_DOC)
    async def infer(request: Request) -> Response:
        """One observation in, one chunk of actions out, as msgpack."""
        arrived_s = time.perf_counter()
        _require_msgpack(request)
        message = v1.decode_request(await _read_body(request, max_body_bytes))
        served = engine.policies.select(message.policy)
        require_contract(message, served.policy.contract)
        answer = await _answer_or_disconnect(request, engine.submit(served, message))
        reply = _reply(engine, served, message, answer, arrived_s)
        return Response(v1.encode_reply(reply), media_type=v1.CONTENT_TYPE)

    return app


def software_version() -> str:
    """Return the version of this distribution."""
    return version("rlco-policy-server")


def _reply(
    engine: Engine,
    served: ServedPolicy,
    message: v1.InferRequest,
    answer: Answer,
    arrived_s: float,
) -> v1.Reply:
    steps = np.arange(len(answer.actions), dtype=np.int64)
    return v1.Reply(
        actions=answer.actions,
        target_times_ns=message.stamp_ns + steps * served.policy.contract.period_ns,
        policy_id=engine.policies.public_id(served),
        session=message.session,
        step=message.step,
        timing=v1.Timing(
            queue_ms=answer.queue_ms,
            infer_ms=answer.infer_ms,
            total_ms=1e3 * (time.perf_counter() - arrived_s),
        ),
    )


async def _answer_or_disconnect(request: Request, queued: Future[Answer]) -> Answer:
    """Return the answer, or take the request out of the queue when its client hangs up.

    A client that passed its deadline has newer observations, which must not wait for the old one.
    """
    answer = asyncio.wrap_future(queued)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        gone.cancel()
        answer.cancel()


def _require_msgpack(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").lower()
    if kind not in MSGPACK_TYPES or coding != "identity":
        raise RequestError(
            415,
            "wrong_content_type",
            f"Content-Type is {kind!r}, Content-Encoding {coding!r}.",
            f"Send the body as 'Content-Type: {v1.CONTENT_TYPE}', without compression.",
        )


async def _read_body(request: Request, limit: int) -> bytes:
    """Return the body, and stop reading as soon as it is too large."""
    too_large = RequestError(
        413,
        "body_too_large",
        f"The body exceeds {limit} bytes.",
        "Send the camera at the contract's source resolution or policy size.",
        {"Connection": "close"},
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


def _answer_errors(app: FastAPI) -> None:
    """Answer every error as JSON `{error, detail, remedy}`."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return JSONResponse(error.body(), status_code=error.status, headers=error.headers)

    @app.exception_handler(WireError)
    async def malformed(_: Request, error: WireError) -> JSONResponse:
        remedy = "docs/serving.md describes the body; rlco_policy_server.client writes it."
        body = {"error": "malformed_body", "detail": str(error), "remedy": remedy}
        return JSONResponse(body, status_code=400)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        body = {
            "error": "no_such_route",
            "detail": f"{request.method} {request.url.path}: {error.detail}",
            "remedy": "Use POST /v1/infer, GET /v1/metadata, /healthz or /readyz; see /docs.",
        }
        return JSONResponse(body, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> JSONResponse:
        body = {
            "error": "server_error",
            "detail": f"The server failed with {type(error).__name__}.",
            "remedy": "This is a defect of the server; its log has the traceback.",
        }
        return JSONResponse(body, status_code=500)
