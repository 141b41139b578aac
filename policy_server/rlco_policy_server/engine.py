"""The inference thread: requests wait in a bounded queue, one thread answers them in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import ACTION_DIM

from rlco_policy_server.errors import RequestError
from rlco_policy_server.observation import policy_inputs
from rlco_policy_server.policies import PolicySet, ServedPolicy
from rlco_policy_server.wire.v1 import InferRequest

logger = logging.getLogger(__name__)


class WarmUpError(RuntimeError):
    """A policy cannot answer even an empty scene, so the server must not open its port."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Actions `(horizon, 7) float32`, all finite, and where the time went."""

    actions: NDArray[np.float32]
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True, kw_only=True)
class _Job:
    served: ServedPolicy
    request: InferRequest
    future: Future[Answer]
    queued_s: float


class Engine:
    """Owns the one thread that calls policies, so that inference never blocks the event loop."""

    def __init__(
        self,
        policies: PolicySet,
        *,
        queue_limit: int = 16,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Answer for `policies`, with at most `queue_limit` requests waiting."""
        if queue_limit < 1:
            raise ValueError(f"queue_limit must be at least 1, got {queue_limit}")
        self.policies = policies
        self.ready = False
        self._queue_limit = queue_limit
        self._clock = clock
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="rlco-inference", daemon=True)

    def start(self) -> None:
        """Start the thread and let every policy answer a black image once.

        Raises:
            WarmUpError: naming the policy that failed.
        """
        self._thread.start()
        for served in self.policies:
            try:
                self.submit(served, _empty_scene(served)).result()
            except RequestError as error:
                self.close()
                raise WarmUpError(f"policy {served.alias!r} failed its warm-up: {error}") from error
        self.ready = True

    def submit(self, served: ServedPolicy, request: InferRequest) -> Future[Answer]:
        """Queue a request; the future holds its answer or a `RequestError`.

        Raises:
            RequestError: 503, when the queue is full or the server is shutting down.
        """
        job = _Job(served=served, request=request, future=Future(), queued_s=self._clock())
        with self._lock:
            if self._closed:
                raise RequestError(
                    503,
                    "shutting_down",
                    "The server is shutting down.",
                    "Connect to its successor.",
                    {"Retry-After": "5"},
                )
            if self._waiting >= self._queue_limit:
                raise RequestError(
                    503,
                    "queue_full",
                    f"{self._waiting} requests are waiting already.",
                    "Send fewer at a time, or raise --queue-limit.",
                    {"Retry-After": "1"},
                )
            self._waiting += 1
            self._jobs.put(job)
        return job.future

    def close(self, timeout_s: float = 10.0) -> bool:
        """Answer what is queued, take nothing new, stop; False if that took over `timeout_s`."""
        self.ready = False
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._waiting -= 1
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                answer = self._answer(job)
            except Exception as error:  # whatever a policy raises must not end the thread
                job.future.set_exception(error)
            else:
                job.future.set_result(answer)

    def _answer(self, job: _Job) -> Answer:
        started_s = self._clock()
        images, state = policy_inputs(job.request, job.served.policy.contract)
        infer_s = self._clock()
        try:
            chunks = job.served.policy.infer(images, state, [job.request.instruction])
            actions = np.asarray(chunks, np.float32)
        except Exception as error:
            logger.exception("policy %r failed", job.served.alias)
            raise self._policy_error(
                "policy_failed", f"raised {type(error).__name__}: {error}"
            ) from error
        done_s = self._clock()
        expected = (1, job.served.policy.contract.horizon, ACTION_DIM)
        if actions.shape != expected:
            raise self._policy_error(
                "wrong_action_shape", f"returned shape {actions.shape}, not {expected}"
            )
        if not np.isfinite(actions).all():
            raise self._policy_error(
                "non_finite_action", "returned NaN or infinite actions, which were not sent"
            )
        return Answer(
            actions=actions[0],
            queue_ms=1e3 * (started_s - job.queued_s),
            infer_ms=1e3 * (done_s - infer_s),
        )

    def _policy_error(self, error: str, reason: str) -> RequestError:
        if self.policies.blind and error == "policy_failed":
            reason = "raised an error (blind mode: only the server's log says which)"
        return RequestError(
            500,
            error,
            f"The policy {reason}.",
            "Check the checkpoint and the server's log; keep the robot stopped.",
        )


def _empty_scene(served: ServedPolicy) -> InferRequest:
    contract = served.policy.contract
    return InferRequest(
        images={
            camera.name: np.zeros((camera.source_height, camera.source_width, 3), np.uint8)
            for camera in contract.cameras
        },
        state=np.zeros(contract.state_dim, np.float32),
        instruction="warm up",
        session="warm-up",
        step=0,
        stamp_ns=0,
        contract_id=contract.id,
    )
