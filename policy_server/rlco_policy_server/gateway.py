"""The way from any protocol to a policy: select, check, queue, answer.

Endpoints turn what their clients send into an `InferRequest`, await `Gateway.infer`, and turn the
`Reply` into what their clients read. Everything between is here, once for all protocols.
"""

from __future__ import annotations

import asyncio
import contextvars
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

CLIENT_GONE = "client_gone"


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

    def ask(
        self,
        request: InferRequest,
        *,
        endpoint: str,
        done: Callable[[Reply | Exception], None],
        arrived_s: float | None = None,
    ) -> Question:
        """Queue one observation; called on the event loop, and returns at once.

        Args:
            request: the observation, under the contract that `contract_id` names.
            endpoint: which protocol it came by, for metrics and logs; one of a few fixed words.
            done: called on the event loop with the chunk, or with a `RequestError` that says why
                there is none; not called after `Question.cancel`.
            arrived_s: `time.perf_counter()` when the request began to arrive.

        Raises:
            RequestError: if it is refused at once, with an HTTP status.
        """
        question = Question(
            gateway=self,
            request=request,
            endpoint=endpoint,
            done=done,
            arrived_s=time.perf_counter() if arrived_s is None else arrived_s,
        )
        question.start()
        return question

    async def infer(
        self,
        request: InferRequest,
        *,
        endpoint: str,
        gone: Callable[[], Awaitable[object]] | None = None,
        arrived_s: float | None = None,
    ) -> Reply:
        """Return the chunk for one observation: `ask`, for those who can wait.

        Args:
            request: see `ask`.
            endpoint: see `ask`.
            gone: waits until the client hangs up; a request still in the queue is then dropped.
            arrived_s: see `ask`.

        Raises:
            RequestError: why there is no action, with an HTTP status.
            ClientGoneError: if `gone` ended first.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()

        def settle(result: Reply | Exception) -> None:
            if answered.done():
                return
            if isinstance(result, Exception):
                answered.set_exception(result)
            else:
                answered.set_result(result)

        question = self.ask(request, endpoint=endpoint, done=settle, arrived_s=arrived_s)
        leaving = None if gone is None else asyncio.ensure_future(gone())
        if leaving is not None:
            leaving.add_done_callback(lambda _: settle(ClientGoneError()))
        try:
            return await answered
        finally:
            question.cancel()
            if leaving is not None:
                leaving.cancel()

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

    def enqueue(self, question: Question) -> Future[Answer]:
        """Check a question and queue it for its policy.

        Raises:
            RequestError: if it is refused.
        """
        request = question.request
        self.metrics.stage("decode", time.perf_counter() - question.arrived_s)
        self._limiter.require(question.caller)
        served = question.served = self.policy(request.policy, request.session)
        require_contract(request, served.policy.contract)
        if question.key is not None:
            question.session = self._sessions.touch(question.key)
        return self.engine.submit(
            served, request, session=question.key, arrived_s=question.arrived_s
        )

    def reply(self, question: Question, answer: Answer) -> Reply:
        """Return what a question's client is told; show it to shadow and recorder."""
        request, served, session = question.request, question.served, question.session
        assert served is not None
        actions = answer.actions
        if session is not None and request.prefix is None:
            actions = self._blend(session, served, actions, request.stamp_ns)
        public_id = self.engine.policies.public_id(served)
        if self._shadow is not None:
            self._shadow.watch(request, answer, question.key)
        if self._recorder is not None:
            who = question.key or (question.caller, "")
            self._recorder.add(who, request, answer, actions, served, public_id)
        total_s = time.perf_counter() - question.arrived_s
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

    def note(self, question: Question, outcome: str) -> None:
        """Count and log what became of a question."""
        if outcome == CLIENT_GONE:
            self.metrics.drop(CLIENT_GONE)
        self.metrics.request(question.endpoint, outcome)
        level = logging.DEBUG if outcome == "ok" else logging.INFO
        if logger.isEnabledFor(level):
            request = question.request
            fields = {
                "endpoint": question.endpoint,
                "outcome": outcome,
                "policy": request.policy,
                "session": request.session,
                "step": request.step,
                "total_ms": round(1e3 * (time.perf_counter() - question.arrived_s), 3),
            }
            logger.log(level, "infer", extra={"fields": fields})

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


class Question:
    """One observation between its endpoint and its policy; `Gateway.ask` makes it."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        request: InferRequest,
        endpoint: str,
        done: Callable[[Reply | Exception], None],
        arrived_s: float,
    ) -> None:
        """Ask in the name of the present caller, for the present event loop."""
        self.request = request
        self.endpoint = endpoint
        self.arrived_s = arrived_s
        self.caller = CALLER.get()
        self.key: SessionKey | None = (self.caller, request.session) if request.session else None
        self.served: ServedPolicy | None = None
        self.session: Session | None = None
        self._gateway = gateway
        self._done = done
        self._queued: Future[Answer] | None = None
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()

    def start(self) -> None:
        """Queue it; raises `RequestError` if it is refused at once."""
        try:
            self._queued = self._gateway.enqueue(self)
        except Exception as error:
            self._close(_outcome(error))
            raise
        self._queued.add_done_callback(self._settled)

    def cancel(self) -> None:
        """Take it out of the queue, as its client hung up; nothing happens once it is answered.

        A client that passed its deadline has newer observations, which must not wait for this one.
        """
        if self._open:
            queued = self._queued
            self._close(CLIENT_GONE)
            if queued is not None:
                queued.cancel()

    def _settled(self, queued: Future[Answer]) -> None:
        """Go on on the event loop; called from the inference thread."""
        if self._open and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish, queued, context=self._context)

    def _finish(self, queued: Future[Answer]) -> None:
        if not self._open:
            return
        done = self._done
        result: Reply | Exception
        try:
            result = self._gateway.reply(self, queued.result())
        except Exception as error:
            result = error
        self._close("ok" if isinstance(result, Reply) else _outcome(result))
        done(result)

    def _close(self, outcome: str) -> None:
        self._open = False
        self._gateway.note(self, outcome)
        # Both refer to this question in turn; its images would stay until a garbage collection.
        self._queued = None
        self._done = _ignore


def _ignore(_: Reply | Exception) -> None:
    """Tell nobody."""


def _outcome(error: Exception) -> str:
    return error.error if isinstance(error, RequestError) else "failed"
