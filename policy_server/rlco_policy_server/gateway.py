"""The way from any protocol to a policy: select, check, queue, answer.

Endpoints turn what their clients send into an `InferRequest`, await `Gateway.infer`, and turn the
`Reply` into what their clients read. Everything between is here, once for all protocols.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.context import CALLER
from rlco_policy_server.engine import Engine
from rlco_policy_server.ensembling import ChunkHistory
from rlco_policy_server.errors import ClientGoneError, RequestError
from rlco_policy_server.jobs import Answer
from rlco_policy_server.limits import RateLimiter
from rlco_policy_server.observation import require_contract
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.record import Recorder
from rlco_policy_server.sessions import Session, SessionKey, SessionTable
from rlco_policy_server.shadow import Shadow
from rlco_policy_server.version import software_version
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import InferRequest, Reply, Timing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Limits of a gateway, and what it does to chunks."""

    session_limit: int = 256
    session_idle_s: float = 600.0
    rate_limit_hz: float = 500.0
    ensemble_decay: float | None = None
    """Average overlapping chunks of a session with this decay per chunk; None: send them as is."""


class Gateway:
    """Answers observations of every endpoint with the policies of one server."""

    def __init__(
        self,
        engine: Engine,
        settings: GatewaySettings | None = None,
        *,
        shadow: Shadow | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Answer with `engine`, which the caller has started; show `shadow` and `recorder` all."""
        self.engine = engine
        self.metrics = engine.metrics
        self.routes: dict[str, str] = {}
        """Session name -> alias, as an operator assigned it."""
        self._settings = settings or GatewaySettings()
        self._shadow = shadow
        self._recorder = recorder
        self._limiter = RateLimiter(self._settings.rate_limit_hz)
        self._sessions = SessionTable(
            limit=self._settings.session_limit, idle_s=self._settings.session_idle_s
        )
        self.metrics.sessions.set_function(lambda: len(self._sessions))

    @property
    def ready(self) -> bool:
        """Whether the policies are warm and requests are taken."""
        return self.engine.ready

    def policy(self, alias: str | None, session: str = "") -> ServedPolicy:
        """Return the policy called `alias`, or, for None, the session's route or the default one.

        Raises:
            RequestError: 404, naming the aliases that are served.
        """
        return self.engine.policies.select(self.routes.get(session) if alias is None else alias)

    async def infer(
        self,
        request: InferRequest,
        *,
        endpoint: str,
        gone: Callable[[], Awaitable[object]] | None = None,
        arrived_s: float | None = None,
    ) -> Reply:
        """Return the chunk for one observation.

        Args:
            request: the observation, under the contract that `contract_id` names.
            endpoint: which protocol it came by, for metrics and logs; one of a few fixed words.
            gone: waits until the client hangs up; a request still in the queue is then dropped.
            arrived_s: `time.perf_counter()` when the request began to arrive.

        Raises:
            RequestError: why there is no action, with an HTTP status.
            ClientGoneError: if `gone` ended first.
        """
        arrived_s = time.perf_counter() if arrived_s is None else arrived_s
        outcome = "failed"
        try:
            reply = await self._infer(request, endpoint, gone, arrived_s)
            outcome = "ok"
            return reply
        except RequestError as error:
            outcome = error.error
            raise
        except (ClientGoneError, asyncio.CancelledError):
            outcome = "client_gone"
            self.metrics.drop("client_gone")
            raise
        finally:
            self.metrics.request(endpoint, outcome)
            self._log(request, endpoint, outcome, arrived_s)

    def reset(self, session: str) -> None:
        """Forget what is kept of a session: its next observation is the first of an episode."""
        key = (CALLER.get(), session)
        self._sessions.remove(key)
        if self._recorder is not None:
            self._recorder.end(key)

    def metadata(self) -> ServerMetadata:
        """Return what is served: contract, horizon, rate and ids of every policy."""
        return ServerMetadata(
            policies=self.engine.policies.metadata(),
            default_policy=self.engine.policies.default,
            blind=self.engine.policies.blind,
            software_version=software_version(),
        )

    def leave(self) -> None:
        """Say not ready from now on; requests are still answered until `close`."""
        self.engine.ready = False

    def close(self) -> bool:
        """Answer what is queued and stop; False if that took too long."""
        ended = self.engine.close()
        if self._shadow is not None:
            self._shadow.close()
        if self._recorder is not None:
            self._recorder.close()
        return ended

    async def _infer(
        self,
        request: InferRequest,
        endpoint: str,
        gone: Callable[[], Awaitable[object]] | None,
        arrived_s: float,
    ) -> Reply:
        self.metrics.stage("decode", time.perf_counter() - arrived_s)
        self._limiter.require(CALLER.get())
        served = self.policy(request.policy, request.session)
        require_contract(request, served.policy.contract)
        key: SessionKey | None = None
        session: Session | None = None
        if request.session:
            key = (CALLER.get(), request.session)
            session = self._sessions.touch(key)
        queued = self.engine.submit(served, request, session=key, arrived_s=arrived_s)
        answer = await _answer_unless_gone(queued, gone)
        actions = answer.actions
        if session is not None and request.prefix is None:
            actions = self._blend(session, served, actions, request.stamp_ns)
        public_id = self.engine.policies.public_id(served)
        if self._shadow is not None:
            self._shadow.watch(request, answer, key)
        if self._recorder is not None:
            who = key or (CALLER.get(), "")
            self._recorder.add(who, request, answer, actions, served, public_id)
        total_s = time.perf_counter() - arrived_s
        self.metrics.stage("total", total_s)
        steps = np.arange(len(actions), dtype=np.int64)
        return Reply(
            actions=actions,
            target_times_ns=request.stamp_ns + steps * served.policy.contract.period_ns,
            policy_id=public_id,
            session=request.session,
            step=request.step,
            timing=Timing(
                queue_ms=answer.queue_ms, infer_ms=answer.infer_ms, total_ms=1e3 * total_s
            ),
        )

    def _blend(
        self, session: Session, served: ServedPolicy, actions: NDArray[np.float32], stamp_ns: int
    ) -> NDArray[np.float32]:
        """Return `actions`, averaged with the session's earlier chunks where that is asked for."""
        decay = self._settings.ensemble_decay
        if decay is None:
            return actions
        voice = f"{served.alias} {served.policy_id}"
        if session.history is None or session.voice != voice:  # another policy: nothing to average
            period_ns = served.policy.contract.period_ns
            session.history = ChunkHistory(decay=decay, period_ns=period_ns)
            session.voice = voice
        return session.history.blend(actions, stamp_ns)

    def _log(self, request: InferRequest, endpoint: str, outcome: str, arrived_s: float) -> None:
        level = logging.DEBUG if outcome == "ok" else logging.INFO
        if logger.isEnabledFor(level):
            fields = {
                "endpoint": endpoint,
                "outcome": outcome,
                "policy": request.policy,
                "session": request.session,
                "step": request.step,
                "total_ms": round(1e3 * (time.perf_counter() - arrived_s), 3),
            }
            logger.log(level, "infer", extra={"fields": fields})


async def _answer_unless_gone(
    queued: Future[Answer], gone: Callable[[], Awaitable[object]] | None
) -> Answer:
    """Return the answer, or take the request out of the queue when its client hangs up.

    A client that passed its deadline has newer observations, which must not wait for the old one.
    """
    answer = asyncio.wrap_future(queued)
    if gone is None:
        return await answer
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientGoneError
        return answer.result()
    finally:
        leaving.cancel()
        answer.cancel()
