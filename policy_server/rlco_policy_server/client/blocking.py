"""`PolicyClient`: blocking calls, one connection, no thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.closing import Closing
from rlco_datasets.contract import Contract

from rlco_policy_server.client.connection import StreamConnection
from rlco_policy_server.client.exchange import Exchange, Inference
from rlco_policy_server.client.protocol import ConnectionLostError
from rlco_policy_server.wire import stream
from rlco_policy_server.wire.arrays import Parts
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import Reply

MakeFrame = Callable[[float], str | Parts | None]
"""What to send, from the deadline on the client's clock; None: only connect."""


class PolicyClient(Closing):
    """A connection to one policy server; not for use from several threads at once.

    A connection that broke (the server restarted, the cable was pulled) is opened again by the next
    call, which checks the contract again; the policy behind an alias must still be the same.
    """

    def __init__(
        self,
        url: str,
        contract: Contract,
        *,
        timeout_s: float = 1.0,
        api_key: str | None = None,
        jpeg_quality: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and check that the server speaks `contract`.

        Args:
            url: where rlco-serve listens, for example `http://127.0.0.1:8000`.
            contract: what this robot's observations and actions mean.
            timeout_s: the deadline of every call, from sending to the checked reply.
            api_key: the server's key for this robot, where it asks for one.
            jpeg_quality: send images as JPEG of this quality, for slow networks; by default raw.
            clock: monotonic seconds.

        Raises:
            ContractMismatchError: naming the fields in which no served policy agrees.
            PolicyServerError: if the server is down, late or refuses.
        """
        self._exchange = Exchange(
            url=url,
            contract=contract,
            timeout_s=timeout_s,
            api_key=api_key,
            jpeg_quality=jpeg_quality,
        )
        self._clock = clock
        self._connection: StreamConnection | None = None
        self._call(lambda deadline: None)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._exchange.url

    @property
    def contract(self) -> Contract:
        """What observations and actions mean."""
        return self._exchange.contract

    @property
    def timeout_s(self) -> float:
        """The deadline of every call, seconds."""
        return self._exchange.timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._exchange.timeout_s = timeout_s

    def metadata(self) -> ServerMetadata:
        """Ask what the server serves now."""
        ask = stream.encode(stream.Ask(ask="metadata"))
        return self._exchange.answered_metadata(self._call(lambda deadline: ask))

    def reset(self, session: str) -> None:
        """Tell the server that the next observation of `session` begins an episode."""
        ask = stream.encode(stream.Ask(ask="reset", session=session))
        self._exchange.answered_reset(self._call(lambda deadline: ask), session)

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
        prefix: NDArray[np.floating[Any]] | None = None,
        delay_s: float | None = None,
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
            prefix: `(n, 7)`, for real-time chunking: the actions not executed yet at `stamp_ns`.
            delay_s: for real-time chunking: how long a reply takes, as measured here.

        Raises:
            ContractMismatchError: if the policy was trained on another contract.
            PolicyServerError: its subclass says whether the server is down, late or refuses.
        """
        inference = Inference(
            images=images,
            state=state,
            instruction=instruction,
            session=session,
            step=step,
            stamp_ns=stamp_ns,
            policy=policy,
            prefix=prefix,
            delay_s=delay_s,
        )
        frame = self._call(
            lambda deadline: self._exchange.request(
                inference, deadline_s=max(0.0, deadline - self._clock())
            )
        )
        return self._exchange.reply(frame, inference)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self, frame: MakeFrame) -> str | bytes:
        """Return the answer to `frame(deadline)`, complete before the deadline."""
        deadline = self._clock() + self.timeout_s
        fresh = self._connection is None
        with self._exchange.named_errors():
            try:
                return self._ask(frame, deadline)
            except ConnectionLostError:
                if fresh:
                    raise
                # The server or the network closed the idle connection: an observation that nobody
                # answered may be asked again.
                return self._ask(frame, deadline)

    def _ask(self, frame: MakeFrame, deadline: float) -> str | bytes:
        try:
            if self._connection is None:
                url, headers = self._exchange.stream_url, self._exchange.headers
                self._connection = StreamConnection(
                    url, headers, deadline=deadline, clock=self._clock
                )
                self._exchange.opened(self._connection.receive(deadline=deadline))
            question = frame(deadline)
            if question is None:
                return ""
            self._connection.send(question, deadline=deadline)
            return self._connection.receive(deadline=deadline)
        except BaseException:  # with the connection, whatever the server still sends
            self.close()
            raise
