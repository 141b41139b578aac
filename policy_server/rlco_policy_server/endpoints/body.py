"""Reading a request's body, bounded."""

from __future__ import annotations

from fastapi import Request

from rlco_policy_server.errors import RequestError


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, and stop reading as soon as it is too large.

    Raises:
        RequestError: 413, if there are more than `limit` bytes.
    """
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
