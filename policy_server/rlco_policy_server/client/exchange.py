"""What the blocking and the asynchronous client share: requests, checks and errors; no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import (
    ACTION_DIM,
    Contract,
    ContractMismatchError,
    require_same_contract,
)
from websockets.exceptions import InvalidURI

from rlco_policy_server.client.errors import (
    ServerReplyError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from rlco_policy_server.client.protocol import HandshakeError
from rlco_policy_server.wire import stream, v1
from rlco_policy_server.wire.arrays import Parts, WireError
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import Reply

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
GATEWAY_TIMEOUT = 504


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """What `infer` is asked; `images` and `state` as the contract says."""

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.floating[Any]]
    instruction: str
    session: str
    step: int
    stamp_ns: int
    policy: str | None = None
    prefix: NDArray[np.floating[Any]] | None = None
    delay_s: float | None = None


@dataclass(kw_only=True)
class Exchange:
    """One client's side of the protocol: what it may send, and what it accepts."""

    url: str
    contract: Contract
    timeout_s: float
    api_key: str | None = None
    jpeg_quality: int | None = None
    metadata: ServerMetadata | None = field(default=None, init=False)
    """What the server said at the first connection; replies are held to it."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, got {self.timeout_s}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be in [1, 100], got {self.jpeg_quality}")
        self.url = self.url.rstrip("/")
        self._plain_contract = spec.to_plain(self.contract)

    @property
    def stream_url(self) -> str:
        """The websocket's URL.

        Raises:
            ServerUnavailableError: if `url` is not the URL of a server.
        """
        try:
            parts = urlsplit(self.url)
            scheme, host = SCHEMES.get(parts.scheme), parts.hostname
            port = parts.port
        except ValueError as error:
            raise self.unavailable(error) from error
        if scheme is None or not host or any(c.isspace() for c in self.url):
            raise self.unavailable(ValueError("not of the form http://HOST:PORT"))
        host = f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}{'' if port is None else f':{port}'}{parts.path}{stream.PATH}"

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates the connection."""
        return {} if self.api_key is None else {"X-Api-Key": self.api_key}

    def opened(self, frame: str | bytes) -> ServerMetadata:
        """Return the metadata in the server's first frame, after the contract check.

        Raises:
            ContractMismatchError: naming the fields in which no served policy agrees.
            ServerReplyError: if this is no policy server.
        """
        metadata = self.answered_metadata(frame)
        if not any(policy.contract_id == self.contract.id for policy in metadata.policies):
            served = metadata.policy(None) or next(iter(metadata.policies), None)
            if served is None:
                raise self.unavailable(ValueError("it serves no policy yet"))
            where = f"{self.url}, policy {served.alias!r}"
            require_same_contract(self.contract, served.contract, where=where)
        self.metadata = self.metadata or metadata
        return metadata

    def answered_metadata(self, frame: str | bytes) -> ServerMetadata:
        """Return the metadata in `frame`; raises `ServerReplyError` if there is none."""
        problem: object = "binary frame"
        if isinstance(frame, str):
            try:
                answer = stream.decode_answer(frame)
            except WireError as error:
                problem = error
            else:
                if isinstance(answer, ServerMetadata):
                    return answer
                if isinstance(answer, stream.Refusal):
                    raise self.refused(answer)
                problem = answer
        raise ServerReplyError(
            f"{self.url}{stream.PATH} did not send the metadata of an rlco policy server of this "
            f"version ({problem}). Check the URL, and install one version on both sides."
        )

    def answered_reset(self, frame: str | bytes, session: str) -> None:
        """Check that `frame` says that `session` was reset; raises `ServerReplyError` if not."""
        try:
            answer = stream.decode_answer(frame) if isinstance(frame, str) else None
        except WireError as error:
            raise ServerReplyError(f"{self.url} answered a reset with {error}") from error
        if isinstance(answer, stream.Refusal):
            raise self.refused(answer)
        if answer != session:
            raise ServerReplyError(f"{self.url} did not confirm the reset of {session!r}.")

    def request(self, inference: Inference, *, deadline_s: float) -> Parts:
        """Return the parts of the frame that asks for `inference`.

        Raises:
            ContractMismatchError: if the policy was trained on another contract.
        """
        served = self.metadata.policy(inference.policy) if self.metadata else None
        if served is not None:
            where = f"{self.url}, policy {served.alias!r}"
            require_same_contract(self.contract, served.contract, where=where)
        prefix = inference.prefix
        request = v1.InferRequest(
            images=inference.images,
            state=np.asarray(inference.state, np.float32),
            instruction=inference.instruction,
            session=inference.session,
            step=inference.step,
            stamp_ns=inference.stamp_ns,
            contract_id=self.contract.id,
            policy=inference.policy,
            contract=None if served is not None else self._plain_contract,
            deadline_s=deadline_s,
            prefix=None if prefix is None else np.asarray(prefix, np.float32),
            delay_s=inference.delay_s,
        )
        return v1.request_parts(request, jpeg_quality=self.jpeg_quality)

    def reply(self, frame: str | bytes, inference: Inference) -> Reply:
        """Return the chunk in `frame`, checked against the contract and what was asked.

        Raises:
            ContractMismatchError: if the server refused for it.
            ServerReplyError: if it refused for something else, or the reply is not usable.
            ServerTimeoutError: if the server says that the answer would come too late.
        """
        try:
            if isinstance(frame, str):
                answer = stream.decode_answer(frame)
                if isinstance(answer, stream.Refusal):
                    raise self.refused(answer)
                raise WireError("a text frame where a chunk was due")
            reply = v1.decode_reply(frame)
        except WireError as error:
            raise ServerReplyError(
                f"{self.url} sent a reply that is not usable: {error}. Install one version of "
                "rlco on both sides."
            ) from error
        problem = self._problem(reply, inference)
        if problem:
            raise ServerReplyError(
                f"{self.url} sent {problem}. Nothing was executed; restart the client, and check "
                "the server's log."
            )
        return reply

    def _problem(self, reply: Reply, asked: Inference) -> str:
        expected = (self.contract.horizon, ACTION_DIM)
        if reply.actions.shape != expected:
            return f"actions of shape {reply.actions.shape}, the contract says {expected}"
        if not np.isfinite(reply.actions).all():
            return "NaN or infinite actions"
        if (reply.session, reply.step) != (asked.session, asked.step):
            return (
                f"an answer to session {reply.session!r} step {reply.step}, asked was "
                f"{asked.session!r} step {asked.step}"
            )
        served = self.metadata.policy(asked.policy) if self.metadata else None
        if served is not None and reply.policy_id != served.policy_id:
            return (
                f"an answer of policy {reply.policy_id!r}, at connect it was {served.policy_id!r}"
            )
        return ""

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn what a connection raises into the client's own errors."""
        try:
            yield
        except TimeoutError as error:
            raise self.late() from error
        except HandshakeError as error:
            raise self.rejected(error.status, error.body) from error
        except (OSError, InvalidURI, UnicodeError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> ServerUnavailableError:
        """Return the error for a server that cannot be reached."""
        return ServerUnavailableError(
            f"no policy server at {self.url} ({error or type(error).__name__}). Start one with "
            "'rlco-serve --checkpoint DIR --host HOST --port PORT', or correct the URL."
        )

    def late(self) -> ServerTimeoutError:
        """Return the error for an answer that did not come in time."""
        return ServerTimeoutError(
            f"{self.url} did not answer within {self.timeout_s} s; the late reply is dropped. "
            "Raise timeout_s, lower the server's load, or look at 'timing' of earlier replies."
        )

    def rejected(self, status: int, body: bytes) -> Exception:
        """Return the error for a handshake that the server answered with an HTTP status."""
        try:
            plain = json.loads(body) | {"status": status}
            return self.refused(spec.from_plain(stream.Refusal, plain, where=self.url))
        except (ValueError, TypeError):  # not our server's words: show them as they are
            pass
        return ServerReplyError(
            f"{self.url}{stream.PATH} answered {status} instead of opening the stream: "
            f"{body[:300].decode(errors='replace')!r}. Check the URL and the API key.",
            status=status,
        )

    def refused(self, refusal: stream.Refusal) -> Exception:
        """Return the error for what the server refused."""
        message = (
            f"{self.url} answered {refusal.status} {refusal.error}: {refusal.detail} "
            f"{refusal.remedy}"
        )
        if refusal.error == "contract_mismatch":
            return ContractMismatchError(message)
        if refusal.status == GATEWAY_TIMEOUT:
            return ServerTimeoutError(message)
        return ServerReplyError(message, status=refusal.status, error=refusal.error)
