"""Our own protocol over HTTP: `POST /v1/infer` and `GET /v1/metadata`."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from rlco_datasets import spec

from rlco_policy_server.endpoints.body import read_body
from rlco_policy_server.endpoints.documents import refusals
from rlco_policy_server.endpoints.settings import DEFAULT_KEYMAPS, EndpointSettings
from rlco_policy_server.endpoints.translate import describe
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.wire import v1
from rlco_policy_server.wire.arrays import DTYPES
from rlco_policy_server.wire.metadata import ServerMetadata

MSGPACK_TYPES = (v1.CONTENT_TYPE, "application/x-msgpack", "application/vnd.msgpack")
ARRAY_SCHEMA = {
    "type": "object",
    "description": "An array, row-major and little-endian.",
    "required": ["dtype", "shape", "data"],
    "additionalProperties": False,
    "properties": {
        "dtype": {"enum": list(DTYPES)},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 4},
        "data": {"type": "string", "format": "binary", "description": "msgpack bin"},
    },
}
JPEG_SCHEMA = {
    "type": "object",
    "required": ["jpeg"],
    "additionalProperties": False,
    "properties": {"jpeg": {"type": "string", "format": "binary", "description": "msgpack bin"}},
}
NAME = {"type": "string", "maxLength": v1.MAX_NAME}
WHOLE = {"type": "integer", "minimum": 0, "maximum": v1.MAX_INT}
SECONDS = {"type": "number", "minimum": 0, "maximum": v1.MAX_WAIT_S}
REQUEST_SCHEMA = {
    "type": "object",
    "required": list(v1.REQUEST_FIELDS),
    "additionalProperties": False,
    "properties": {
        "images": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": v1.MAX_CAMERAS,
            "description": "Camera to RGB image (H, W, 3).",
            "additionalProperties": {"anyOf": [ARRAY_SCHEMA, JPEG_SCHEMA]},
        },
        "state": ARRAY_SCHEMA,
        "instruction": {"type": "string", "maxLength": v1.MAX_INSTRUCTION},
        "session": NAME,
        "step": WHOLE,
        "stamp_ns": WHOLE,
        "contract_id": NAME,
        "policy": NAME,
        "contract": {"type": "object", "description": "The client's contract, as metadata has it."},
        "deadline_s": SECONDS,
        "prefix": ARRAY_SCHEMA,
        "delay_s": SECONDS,
    },
}
REPLY_SCHEMA = {
    "type": "object",
    "required": list(v1.REPLY_FIELDS),
    "properties": {
        "actions": ARRAY_SCHEMA,
        "target_times_ns": ARRAY_SCHEMA,
        "policy_id": NAME,
        "session": NAME,
        "step": WHOLE,
        "timing": {
            "type": "object",
            "properties": {
                name: {"type": "number"} for name in ("queue_ms", "infer_ms", "total_ms")
            },
        },
    },
}
INFER_DOC = {
    "requestBody": {
        "required": True,
        "description": "An observation, as msgpack; docs/serving.md says what the fields mean.",
        "content": {v1.CONTENT_TYPE: {"schema": REQUEST_SCHEMA}},
    },
    "responses": {
        "200": {
            "description": "A chunk of actions, as msgpack.",
            "content": {v1.CONTENT_TYPE: {"schema": REPLY_SCHEMA}},
        }
    },
}


def router(gateway: Gateway, settings: EndpointSettings) -> APIRouter:
    """Return the routes of `/v1`."""
    routes = APIRouter()

    @routes.get("/v1/metadata", response_model=ServerMetadata)
    async def metadata() -> JSONResponse:
        """What is served: contract, horizon, rate and ids of every policy."""
        return JSONResponse(spec.to_plain(gateway.metadata()))

    @routes.get("/v1/endpoints", responses=refusals(404, 422))
    async def endpoints(policy: str | None = None) -> dict[str, Any]:
        """What clients of the other protocols must send for a policy, and what they get."""
        return {
            name: describe(gateway, settings.keymap_of(name), policy) for name in DEFAULT_KEYMAPS
        }

    @routes.post(
        "/v1/infer",
        response_class=Response,
        responses=refusals(400, 404, 409, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=INFER_DOC,
    )
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
