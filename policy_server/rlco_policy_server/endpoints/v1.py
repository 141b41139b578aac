"""Our own protocol over HTTP: `POST /v1/infer` and `GET /v1/metadata`."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from rlco_datasets import spec

from rlco_policy_server.endpoints.body import read_body
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.wire import v1

MSGPACK_TYPES = (v1.CONTENT_TYPE, "application/x-msgpack", "application/vnd.msgpack")
INFER_DOC = {
    "requestBody": {
        "required": True,
        "description": "An observation; `rlco_policy_server.wire.v1` states the fields.",
        "content": {v1.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def router(gateway: Gateway, settings: EndpointSettings) -> APIRouter:
    """Return the routes of `/v1`."""
    routes = APIRouter()

    @routes.get("/v1/metadata")
    async def metadata() -> JSONResponse:
        """What is served: contract, horizon, rate and ids of every policy."""
        return JSONResponse(spec.to_plain(gateway.metadata()))

    @routes.post("/v1/infer", response_class=Response, openapi_extra=INFER_DOC)
    async def infer(request: Request) -> Response:
        """One observation in, one chunk of actions out, as msgpack."""
        arrived_s = time.perf_counter()
        _require_msgpack(request)
        message = v1.decode_request(await read_body(request, settings.max_body_bytes))
        reply = await gateway.infer(
            message, endpoint="v1", gone=request.receive, arrived_s=arrived_s
        )
        return Response(v1.encode_reply(reply), media_type=v1.CONTENT_TYPE)

    return routes


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
