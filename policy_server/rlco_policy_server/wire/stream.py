"""The text frames of the websocket `/v1/stream`, as JSON; the binary ones are `wire.v1` messages.

The server opens with `{"metadata": ...}`. A client sends binary requests, `{"ask": "metadata"}` or
`{"ask": "reset", "session": ...}`; it receives binary replies, `{"metadata": ...}`,
`{"reset": session}`, or a refusal: `{"error", "detail", "remedy", "status"}` together with the
`session` and `step` of the request where they are known. The connection survives a refusal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from rlco_datasets import spec

from rlco_policy_server.wire.arrays import WireError, show
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import MAX_NAME

PATH = "/v1/stream"
MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A question that is no observation; `session` is empty for metadata."""

    ask: Literal["metadata", "reset"]
    session: str = ""

    def __post_init__(self) -> None:
        """A reset names its session, metadata has none."""
        if (self.ask == "reset") != bool(self.session) or len(self.session) > MAX_NAME:
            raise ValueError(
                f"ask {self.ask!r} with session {show(self.session)}: a reset names a session of "
                f"at most {MAX_NAME} characters, metadata none"
            )


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a request got no action; `session` and `step` tell which request, where known."""

    status: int
    error: str
    detail: str
    remedy: str
    session: str = ""
    step: int = -1


def encode(message: ServerMetadata | Ask | Refusal) -> str:
    """Return the text frame of `message`."""
    plain = spec.to_plain(message)
    return json.dumps({"metadata": plain} if isinstance(message, ServerMetadata) else plain)


def encode_reset(session: str) -> str:
    """Return the text frame that confirms a reset."""
    return json.dumps({"reset": session})


def decode_ask(text: str) -> Ask:
    """Return the question in a text frame; raises `WireError` for anything else."""
    if len(text) > MAX_TEXT_BYTES:
        raise WireError(f"text frame: {len(text)} characters, at most {MAX_TEXT_BYTES}")
    try:
        return spec.from_plain(Ask, json.loads(text), where="text frame")
    except (ValueError, RecursionError) as error:
        raise WireError(
            f"text frame: {show(text)} is not a question ({str(error)[:300]}); send "
            '{"ask": "metadata"}, {"ask": "reset", "session": NAME}, or a request as a binary frame'
        ) from error


def decode_answer(text: str) -> ServerMetadata | Refusal | str:
    """Return what the server says in a text frame: metadata, a refusal, or the session it reset.

    Raises:
        WireError: if it is none of these.
    """
    try:
        plain: Any = json.loads(text)
        if isinstance(plain, dict) and plain.keys() == {"metadata"}:
            return spec.from_plain(ServerMetadata, plain["metadata"], where="metadata")
        if isinstance(plain, dict) and plain.keys() == {"reset"}:
            return str(plain["reset"])
        return spec.from_plain(Refusal, plain, where="refusal")
    except (ValueError, RecursionError) as error:
        raise WireError(f"{show(text)} is not an answer ({str(error)[:300]})") from error
