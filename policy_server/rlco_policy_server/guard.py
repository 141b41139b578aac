"""The door of the server, for HTTP and websockets alike: who is asking, and with what right.

A key comes as `X-Api-Key: KEY`, `Authorization: Bearer KEY`, or, from openpi's client,
`Authorization: Api-Key KEY`. Without a key file everybody may infer and nobody may operate.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlco_policy_server.context import ANONYMOUS, CALLER, REQUEST_ID
from rlco_policy_server.errors import RequestError
from rlco_policy_server.keys import KeyFile, Role

logger = logging.getLogger(__name__)

OPEN_PATHS = ("/healthz", "/readyz")
ROLE = "rlco.role"
"""Where the caller's role is in the ASGI scope."""
_SCHEMES = ("bearer", "api-key")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Guard:
    """ASGI middleware: checks the key, names the request, and refuses foreign web pages."""

    def __init__(self, app: ASGIApp, *, keys: KeyFile | None) -> None:
        """Guard `app` with `keys`; None: everybody is anonymous."""
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer 401 or 403."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        wanted = connection.headers.get("x-request-id", "")
        request_id = wanted if _REQUEST_ID.fullmatch(wanted) else secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        header = (b"x-request-id", request_id.encode())

        async def send_named(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            _refuse_foreign_page(connection)
            name, role = self._caller(connection)
        except RequestError as error:
            where = connection.client.host if connection.client else "?"
            fields = {"from": where, "outcome": error.error}
            logger.warning("not let in", extra={"fields": fields})
            await _refuse(error, scope, receive, send_named)
            return
        CALLER.set(name)
        scope[ROLE] = role
        await self._app(scope, receive, send_named)

    def _caller(self, connection: HTTPConnection) -> tuple[str, Role]:
        if self._keys is None or connection.scope["path"] in OPEN_PATHS:
            return ANONYMOUS, "infer"
        presented = connection.headers.get("x-api-key")
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        if presented is None and scheme.lower() in _SCHEMES:
            presented = credentials.strip()
        key = None if presented is None else self._keys.find(presented)
        if key is None:
            what = "No API key was sent" if presented is None else "The API key is not known here"
            raise RequestError(
                401,
                "no_valid_key",
                f"{what}.",
                "Send 'X-Api-Key: KEY' or 'Authorization: Bearer KEY'; 'rlco-serve key' makes one.",
                {"WWW-Authenticate": "Bearer"},
            )
        return key.name, key.role


def require_operator(connection: HTTPConnection) -> None:
    """Refuse everybody but the holder of an operator's key; for FastAPI's `Depends`.

    Raises:
        RequestError: 403.
    """
    if connection.scope.get(ROLE) != "operate":
        raise RequestError(
            403,
            "not_an_operator",
            "This needs a key of role 'operate'.",
            "Send an operator's key; 'rlco-serve key --role operate' makes one, and the server "
            "must run with --keys.",
        )


def _refuse_foreign_page(connection: HTTPConnection) -> None:
    """Refuse requests that another web page makes a browser send; robots send no Origin."""
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != connection.headers.get("host"):
        raise RequestError(
            403,
            "foreign_origin",
            f"A web page of {origin[:200]!r} asked.",
            "Ask from a program, or from a page of this server.",
        )


async def _refuse(error: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json")]
    headers += [(name.lower().encode(), text.encode()) for name, text in error.headers.items()]
    kind = "http"
    if scope["type"] == "websocket":
        await receive()  # the connect message
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": error.detail[:100]})
            return
        kind = "websocket.http"
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{kind}.response.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
