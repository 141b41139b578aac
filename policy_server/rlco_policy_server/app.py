"""The FastAPI application: the endpoints of every protocol, health, and errors as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rlco_policy_server import metrics, operate
from rlco_policy_server.audit import Audit
from rlco_policy_server.endpoints import openpi, openvla, roboarena, stream, v1
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.websockets import OpenAnswers
from rlco_policy_server.errors import ClientGoneError, RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.guard import Guard
from rlco_policy_server.keys import KeyFile
from rlco_policy_server.operate import PolicyLoader
from rlco_policy_server.version import software_version
from rlco_policy_server.wire.arrays import WireError

ENDPOINTS = (v1.router, stream.router, openpi.router, roboarena.router, openvla.router)


def create_app(
    gateway: Gateway,
    settings: EndpointSettings | None = None,
    *,
    keys: KeyFile | None = None,
    loader: PolicyLoader | None = None,
    audit: Audit | None = None,
) -> FastAPI:
    """Return the application that serves the policies of `gateway`, which the caller has started.

    The application closes the gateway when it shuts down, after the open requests were answered.

    Args:
        gateway: answers.
        settings: limits and choices of the protocols.
        keys: who is let in; None: everybody, but nobody as operator.
        loader: how operators load checkpoints; None: not at all.
        audit: where acts of operators are written down.
    """
    settings = settings or EndpointSettings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(gateway.close)

    app = FastAPI(title="rlco policy server", version=software_version(), lifespan=lifespan)
    app.state.open_answers = OpenAnswers()
    _answer_errors(app)
    app.add_middleware(Guard, keys=keys)
    for endpoint in ENDPOINTS:
        app.include_router(endpoint(gateway, settings))
    app.include_router(operate.router(gateway, loader, audit or Audit()))

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process is alive."""
        return "OK\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz() -> Response:
        """The policies are warm and requests are taken."""
        if gateway.ready:
            return PlainTextResponse("OK\n")
        return PlainTextResponse("not ready\n", status_code=503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def exposition() -> Response:
        """Latency, queue, batches and drops, for Prometheus."""
        return Response(gateway.metrics.exposition(), media_type=metrics.CONTENT_TYPE)

    return app


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

    @app.exception_handler(RequestValidationError)
    async def misshapen(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
        body = {"error": "bad_parameter", "detail": detail, "remedy": "/docs describes the routes."}
        return JSONResponse(body, status_code=422)

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, __: Exception) -> Response:
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
