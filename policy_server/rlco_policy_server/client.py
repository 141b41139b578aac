"""The light client: an observation in, a checked chunk of actions out.

Needs numpy, msgpack, httpx and rlco_datasets only, so that a robot PC needs no torch.

    client = PolicyClient("http://127.0.0.1:8000", franka_compact(), timeout_s=0.5)
    reply = client.infer(images={"third_person": frame}, state=state, instruction="pick the cube",
                         session="trial-1", step=0, stamp_ns=stamp_ns)
    reply.actions  # (horizon, 7) float32
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import (
    ACTION_DIM,
    Contract,
    ContractMismatchError,
    require_same_contract,
)

from rlco_policy_server.wire import v1
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES, WireError
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import Reply

__all__ = [
    "ContractMismatchError",
    "PolicyClient",
    "PolicyServerError",
    "Reply",
    "ServerReplyError",
    "ServerTimeoutError",
    "ServerUnavailableError",
]


class PolicyServerError(RuntimeError):
    """No usable action came from the policy server; the robot must not move on."""


class ServerUnavailableError(PolicyServerError):
    """Nothing answers at the server's URL."""


class ServerTimeoutError(PolicyServerError):
    """The reply was not there in time; it is dropped, also when it comes later."""


class ServerReplyError(PolicyServerError):
    """The server refused (with its own remedy), or its reply is not usable."""

    def __init__(self, message: str, *, status: int | None = None, error: str = "") -> None:
        """Keep the HTTP `status` and the server's `error` code next to the message."""
        super().__init__(message)
        self.status = status
        self.error = error


class PolicyClient:
    """A connection to one policy server; not for use from several threads at once."""

    def __init__(
        self,
        url: str,
        contract: Contract,
        *,
        timeout_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and check that the server speaks `contract`.

        Args:
            url: where rlco-serve listens, for example `http://127.0.0.1:8000`.
            contract: what this robot's observations and actions mean.
            timeout_s: the deadline of every call, from sending to the checked reply.
            clock: monotonic seconds.

        Raises:
            ContractMismatchError: naming the fields in which no served policy agrees.
            PolicyServerError: if the server is down, late or refuses.
        """
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        self.url = url.rstrip("/")
        self.contract = contract
        self.timeout_s = timeout_s
        self._clock = clock
        self._plain_contract = spec.to_plain(contract)
        try:
            self._http = httpx.Client(
                base_url=self.url,
                trust_env=False,  # a proxy set for the lab's downloads must not see robot traffic
                limits=httpx.Limits(max_connections=1, keepalive_expiry=60.0),
            )
        except httpx.InvalidURL as error:
            raise self._unavailable(error) from error
        try:
            self._metadata = self.metadata()
            self._check_contract(self._metadata)
        except BaseException:
            self._http.close()
            raise

    def metadata(self) -> ServerMetadata:
        """Ask what the server serves now."""
        body = self._call("GET", "/v1/metadata")
        try:
            plain = httpx.Response(200, content=body).json()
            return spec.from_plain(ServerMetadata, plain, where=f"{self.url}/v1/metadata")
        except ValueError as error:
            raise ServerReplyError(
                f"{self.url}/v1/metadata is not the metadata of an rlco policy server of this "
                f"version ({error}). Check the URL, and install one version on both sides."
            ) from error

    def infer(
        self,
        *,
        images: Mapping[str, NDArray[np.uint8]],
        state: NDArray[np.floating[Any]],
        instruction: str,
        session: str,
        step: int,
        stamp_ns: int,
        policy: str | None = None,
    ) -> Reply:
        """Return the chunk for one observation.

        Args:
            images: camera name -> `(H, W, 3)` uint8 RGB, the source frame or the policy image.
            state: `(S,)` in the contract's layout (m, base frame).
            instruction: what to do, in words.
            session: names the trial or episode.
            step: the control step of the observation within the session.
            stamp_ns: when the observation was captured, nanoseconds on this machine's clock.
            policy: the alias to ask; None for the server's default.

        Raises:
            ContractMismatchError: if the policy was trained on another contract.
            PolicyServerError: its subclass says whether the server is down, late or refuses.
        """
        served = self._metadata.policy(policy)
        if served is not None:
            where = f"{self.url}, policy {served.alias!r}"
            require_same_contract(self.contract, served.contract, where=where)
        request = v1.InferRequest(
            images=images,
            state=np.asarray(state, np.float32),
            instruction=instruction,
            session=session,
            step=step,
            stamp_ns=stamp_ns,
            contract_id=self.contract.id,
            policy=policy,
            contract=self._plain_contract,
        )
        body = self._call("POST", "/v1/infer", v1.encode_request(request))
        try:
            reply = v1.decode_reply(body)
        except WireError as error:
            raise ServerReplyError(
                f"{self.url} sent a reply that is not usable: {error}. Install one version of "
                "rlco on both sides."
            ) from error
        self._check_reply(reply, request, served.policy_id if served else None)
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def _check_contract(self, metadata: ServerMetadata) -> None:
        if any(policy.contract_id == self.contract.id for policy in metadata.policies):
            return
        served = metadata.policy(None) or metadata.policies[0]
        where = f"{self.url}, policy {served.alias!r}"
        require_same_contract(self.contract, served.contract, where=where)

    def _check_reply(self, reply: Reply, request: v1.InferRequest, policy_id: str | None) -> None:
        expected = (self.contract.horizon, ACTION_DIM)
        problem = ""
        if reply.actions.shape != expected:
            problem = f"actions of shape {reply.actions.shape}, the contract says {expected}"
        elif not np.isfinite(reply.actions).all():
            problem = "NaN or infinite actions"
        elif (reply.session, reply.step) != (request.session, request.step):
            problem = (
                f"an answer to session {reply.session!r} step {reply.step}, asked was "
                f"{request.session!r} step {request.step}"
            )
        elif policy_id is not None and reply.policy_id != policy_id:
            problem = f"an answer of policy {reply.policy_id!r}, at connect it was {policy_id!r}"
        if problem:
            raise ServerReplyError(
                f"{self.url} sent {problem}. Nothing was executed; restart the client, and check "
                "the server's log."
            )

    def _call(self, method: str, path: str, content: bytes | None = None) -> bytes:
        """Return the body of a 200 answer that was complete before the deadline."""
        deadline = self._clock() + self.timeout_s
        try:
            try:
                status, body = self._exchange(method, path, content, deadline)
            except httpx.RemoteProtocolError:
                # The server closed the idle connection in the moment of sending: inference keeps
                # no state on the server, so asking once more on a new connection is safe.
                status, body = self._exchange(method, path, content, deadline)
        except httpx.TimeoutException as error:
            raise self._late() from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unavailable(error) from error
        if status != 200:
            raise self._refusal(status, body)
        return body

    def _exchange(
        self, method: str, path: str, content: bytes | None, deadline: float
    ) -> tuple[int, bytes]:
        left_s = deadline - self._clock()
        if left_s <= 0:
            raise self._late()
        headers = {} if content is None else {"Content-Type": v1.CONTENT_TYPE}
        body = bytearray()
        with self._http.stream(
            method, path, content=content, headers=headers, timeout=left_s
        ) as response:
            for chunk in response.iter_raw():
                body += chunk
                if self._clock() > deadline:
                    raise self._late()
                if len(body) > MAX_MESSAGE_BYTES:
                    raise ServerReplyError(
                        f"{self.url} sent over {MAX_MESSAGE_BYTES} bytes; is it a policy server?"
                    )
        if self._clock() > deadline:
            raise self._late()
        return response.status_code, bytes(body)

    def _unavailable(self, error: Exception) -> ServerUnavailableError:
        return ServerUnavailableError(
            f"no policy server at {self.url} ({error}). Start one with 'rlco-serve --checkpoint "
            "DIR --host HOST --port PORT', or correct the URL."
        )

    def _late(self) -> ServerTimeoutError:
        return ServerTimeoutError(
            f"{self.url} did not answer within {self.timeout_s} s; the late reply is dropped. "
            "Raise timeout_s, lower the server's load, or look at 'timing' of earlier replies."
        )

    def _refusal(self, status: int, body: bytes) -> Exception:
        try:
            plain = httpx.Response(status, content=body).json()
            error, detail = str(plain["error"]), f"{plain['detail']} {plain['remedy']}"
        except (ValueError, KeyError, TypeError):
            error, detail = "", f"{body[:200]!r}. Is this an rlco policy server?"
        message = f"{self.url} answered {status} {error}: {detail}"
        if error == "contract_mismatch":
            return ContractMismatchError(message)
        return ServerReplyError(message, status=status, error=error)
