"""OpenVLA's REST protocol, `POST /act`, and the form of OpenVLA-OFT; json-numpy in and out.

OpenVLA's clients send one `image` and read one action `(7,)`. OFT's send `full_image`, wrist images
and `state`, and read a list of actions, one for each step of the chunk. Both may wrap the message
as text in `{"encoded": ...}`, and then read the reply as a JSON string. `unnorm_key` must name what
is served (an alias, a contract or a normalisation id): another one would be another robot's units.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from rlco_policy_server.endpoints.body import read_body
from rlco_policy_server.endpoints.documents import refusals
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.translate import Caller, infer
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.wire import numpy_json
from rlco_policy_server.wire.arrays import show

ARRAY_SCHEMA = {
    "type": "object",
    "required": ["__numpy__", "dtype", "shape"],
    "properties": {
        "__numpy__": {"type": "string", "format": "byte"},
        "dtype": {"type": "string", "examples": ["|u1", "<f4"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 4},
    },
}
NAMES = {key: {"type": "string"} for key in ("instruction", "unnorm_key", "session", "contract_id")}
ACT_DOC = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {
                            "title": "OpenVLA",
                            "type": "object",
                            "required": ["image", "instruction"],
                            "properties": {"image": ARRAY_SCHEMA, "state": ARRAY_SCHEMA} | NAMES,
                        },
                        {
                            "title": "OpenVLA-OFT",
                            "type": "object",
                            "required": ["full_image", "instruction"],
                            "properties": {"full_image": ARRAY_SCHEMA, "state": ARRAY_SCHEMA}
                            | NAMES,
                        },
                        {
                            "title": "double-encoded",
                            "type": "object",
                            "required": ["encoded"],
                            "properties": {"encoded": {"type": "string"}},
                            "additionalProperties": False,
                        },
                    ]
                }
            }
        },
    },
    "responses": {
        "200": {
            "description": "An action (7,), a list of them, or the JSON text of either.",
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            ARRAY_SCHEMA,
                            {"type": "array", "items": ARRAY_SCHEMA},
                            {"type": "string"},
                        ]
                    }
                }
            },
        }
    },
}


def router(gateway: Gateway, settings: EndpointSettings) -> APIRouter:
    """Return the route `/act`."""
    routes = APIRouter()
    one, many = settings.keymap_of("openvla"), settings.keymap_of("oft")

    @routes.post(
        "/act",
        response_class=Response,
        responses=refusals(400, 404, 409, 413, 422, 429, 500, 503, 504),
        openapi_extra=ACT_DOC,
    )
    async def act(request: Request, policy: str | None = None) -> Response:
        """One observation in; one action out, or for OFT's keys the list of a chunk's actions."""
        arrived_s = time.perf_counter()
        body = await read_body(request, settings.max_body_bytes)
        message = numpy_json.loads(body, what="body")
        fields = message.fields
        chunk = "full_image" in fields
        _require_unnorm_key(fields.pop("unnorm_key", None), gateway, policy)
        caller = Caller(
            endpoint="oft" if chunk else "openvla",
            policy=policy,
            session="",
            step=0,
            arrived_s=arrived_s,
            gone=request.receive,
        )
        done = await infer(gateway, many if chunk else one, fields, caller)
        answer = numpy_json.dumps(list(done.actions) if chunk else done.actions[0])
        if message.double_encoded:
            answer = numpy_json.dumps(answer.decode())
        return Response(answer, media_type="application/json")

    return routes


def _require_unnorm_key(key: Any, gateway: Gateway, policy: str | None) -> None:
    if key is None:
        return
    served = gateway.policy(policy)
    known = next(p for p in gateway.metadata().policies if p.alias == served.alias)
    names = [known.alias, known.contract.name, known.contract_id, known.normalisation_id]
    if key not in names:
        raise RequestError(
            422,
            "wrong_unnorm_key",
            f"unnorm_key {show(key)} is not what is served: {[n for n in names if n]}.",
            "Send one of these, or none; the actions are in the contract's units.",
        )
