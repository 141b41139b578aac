"""Who is asking, and which request this is: set where a connection comes in, read anywhere."""

from __future__ import annotations

from contextvars import ContextVar

ANONYMOUS = "anonymous"

CALLER: ContextVar[str] = ContextVar("CALLER", default=ANONYMOUS)
"""The name of the API key in use; sessions of different callers never meet."""
REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="")
"""Names one HTTP request or websocket connection in logs and in the `X-Request-Id` reply header."""
