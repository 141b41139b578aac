"""The way from any protocol to a policy: select, check, queue, answer.

Endpoints turn what their clients send into an `InferRequest`, await `Gateway.infer`, and turn the
`Reply` into what their clients read. Everything between is here, once for all protocols.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import numpy as np

from rlco_policy_server.engine import Answer, Engine
from rlco_policy_server.errors import ClientGoneError
from rlco_policy_server.observation import require_contract
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.version import software_version
from rlco_policy_server.wire.metadata import ServerMetadata
from rlco_policy_server.wire.v1 import InferRequest, Reply, Timing


class Gateway:
    """Answers observations of every endpoint with the policies of one server."""

    def __init__(self, engine: Engine) -> None:
        """Answer with `engine`, which the caller has started."""
        self.engine = engine

    @property
    def ready(self) -> bool:
        """Whether the policies are warm and requests are taken."""
        return self.engine.ready

    def policy(self, alias: str | None, session: str = "") -> ServedPolicy:
        """Return the policy that answers `alias`, or, for None, the session's or the default one.

        Raises:
            RequestError: 404, naming the aliases that are served.
        """
        return self.engine.policies.select(alias)

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
            endpoint: which protocol it came by, for metrics and logs.
            gone: waits until the client hangs up; a request still in the queue is then dropped.
            arrived_s: `time.perf_counter()` when the request began to arrive.

        Raises:
            RequestError: why there is no action, with an HTTP status.
            ClientGoneError: if `gone` ended first.
        """
        arrived_s = time.perf_counter() if arrived_s is None else arrived_s
        served = self.policy(request.policy, request.session)
        require_contract(request, served.policy.contract)
        answer = await _answer_unless_gone(self.engine.submit(served, request), gone)
        steps = np.arange(len(answer.actions), dtype=np.int64)
        return Reply(
            actions=answer.actions,
            target_times_ns=request.stamp_ns + steps * served.policy.contract.period_ns,
            policy_id=self.engine.policies.public_id(served),
            session=request.session,
            step=request.step,
            timing=Timing(
                queue_ms=answer.queue_ms,
                infer_ms=answer.infer_ms,
                total_ms=1e3 * (time.perf_counter() - arrived_s),
            ),
        )

    def reset(self, session: str) -> None:
        """Forget what is kept of a session: its next observation is the first of an episode."""

    def metadata(self) -> ServerMetadata:
        """Return what is served: contract, horizon, rate and ids of every policy."""
        return ServerMetadata(
            policies=self.engine.policies.metadata(),
            default_policy=self.engine.policies.default,
            blind=self.engine.policies.blind,
            software_version=software_version(),
        )

    def close(self) -> bool:
        """Answer what is queued and stop; False if that took too long."""
        return self.engine.close()


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
