"""What the OpenAPI page says about refusals, which are the same on every route."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class RefusalBody(BaseModel):
    """Why a request got no action."""

    error: str = Field(description="A stable code.", examples=["contract_mismatch"])
    detail: str = Field(description="What is wrong, with the offending value.")
    remedy: str = Field(description="What to do about it.")


WORDS = {
    400: "Malformed: not the format, or a field of the wrong type.",
    401: "No API key, or an unknown one.",
    403: "The API key's role does not allow this.",
    404: "No such policy.",
    409: "Another contract; the detail names the differing fields.",
    413: "The body is too large.",
    415: "Another content type.",
    422: "Well-formed, but off the contract.",
    429: "Too many requests or sessions.",
    500: "The policy failed; no action is sent.",
    501: "This server was started without the means.",
    503: "The queue is full, or the server is shutting down.",
    504: "The deadline passed before the answer was there.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that answers with these statuses beside 200."""
    return {status: {"model": RefusalBody, "description": WORDS[status]} for status in statuses}
