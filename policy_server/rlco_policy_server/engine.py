"""The inference threads: one for each device, which calls policies on batches of requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

from rlco_policy_server.batch import Inputs, empty_scene, infer_batch, inputs_of
from rlco_policy_server.errors import RequestError
from rlco_policy_server.jobs import Answer, Job, JobQueue, shutting_down, too_late
from rlco_policy_server.metrics import Metrics
from rlco_policy_server.policies import PolicySet, ServedPolicy
from rlco_policy_server.wire.v1 import InferRequest

logger = logging.getLogger(__name__)


class WarmUpError(RuntimeError):
    """A policy cannot answer even an empty scene, so the server must not open its port."""


@dataclass(frozen=True, kw_only=True)
class _Device:
    queue: JobQueue
    thread: threading.Thread


class Engine:
    """Owns the threads that call policies, so that inference never blocks the event loop."""

    def __init__(
        self,
        policies: PolicySet,
        *,
        queue_limit: int = 16,
        batch_wait_s: float = 0.002,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Answer for `policies`, with at most `queue_limit` requests waiting for each device."""
        if queue_limit < 1:
            raise ValueError(f"queue_limit must be at least 1, got {queue_limit}")
        self.policies = policies
        self.metrics = metrics or Metrics()
        self.ready = False
        self._queue_limit = queue_limit
        self._batch_wait_s = batch_wait_s
        self._clock = clock
        self._devices: dict[str, _Device] = {}
        self._closed = False
        self._lock = threading.Lock()
        self.metrics.queue.set_function(
            lambda: sum(len(device.queue) for device in list(self._devices.values()))
        )

    def start(self) -> None:
        """Let every policy answer a black image.

        Raises:
            WarmUpError: naming the policy that failed.
        """
        try:
            for served in self.policies:
                self.warm_up(served)
        except WarmUpError:
            self.close()
            raise
        self.ready = True

    def warm_up(self, served: ServedPolicy) -> None:
        """Let a policy answer a black image, on the thread that will ask it.

        Raises:
            WarmUpError: if it cannot.
        """
        try:
            self.submit(served, empty_scene(served.policy.contract)).result()
        except RequestError as error:
            raise WarmUpError(f"policy {served.alias!r} failed its warm-up: {error}") from error

    def submit(
        self,
        served: ServedPolicy,
        request: InferRequest,
        *,
        session: Hashable = None,
        shadow: bool = False,
        arrived_s: float | None = None,
    ) -> Future[Answer]:
        """Queue a request; the future holds its answer or a `RequestError`.

        Args:
            served: who answers.
            request: the observation.
            session: whose it is: a newer one replaces an older one that still waits.
            shadow: answer only when nothing else waits.
            arrived_s: when the request arrived, on the engine's clock, for its deadline; None: now.

        Raises:
            RequestError: 503, when the queue is full or the server is shutting down; 409, when a
                newer observation of the session waits already.
        """
        now_s = self._clock()
        since_s = now_s if arrived_s is None else arrived_s
        job = Job(
            served=served,
            request=request,
            future=Future(),
            queued_s=now_s,
            deadline_s=None if request.deadline_s is None else since_s + request.deadline_s,
            session=session,
            shadow=shadow,
        )
        try:
            older = self._device(served.device).queue.put(job)
        except RequestError as error:
            if error.error in ("queue_full", "superseded"):
                self.metrics.drop("shadow" if shadow else error.error)
            raise
        if older is not None:
            self.metrics.drop("shadow" if shadow else "superseded")
        return job.future

    def close(self, timeout_s: float = 10.0) -> bool:
        """Answer what is queued, take nothing new, stop; False if that took over `timeout_s`."""
        self.ready = False
        with self._lock:
            self._closed = True
            devices = list(self._devices.values())
        until_s = time.monotonic() + timeout_s
        for device in devices:
            device.queue.close()
        for device in devices:
            device.thread.join(max(0.0, until_s - time.monotonic()))
        return not any(device.thread.is_alive() for device in devices)

    def _device(self, name: str) -> _Device:
        device = self._devices.get(name)
        if device is not None:
            return device
        with self._lock:
            if self._closed:
                raise shutting_down()
            if name not in self._devices:
                queue = JobQueue(
                    limit=self._queue_limit, batch_wait_s=self._batch_wait_s, clock=self._clock
                )
                thread = threading.Thread(
                    target=self._run, args=(queue,), name=f"rlco-inference-{name}", daemon=True
                )
                self._devices[name] = _Device(queue=queue, thread=thread)
                thread.start()
            return self._devices[name]

    def _run(self, queue: JobQueue) -> None:
        while self._answer_next(queue):
            pass

    def _answer_next(self, queue: JobQueue) -> bool:
        """Answer one batch, and keep nothing of it; False once the queue is closed and empty."""
        jobs = queue.take()
        if jobs is None:
            return False
        try:
            self._answer(jobs)
        except Exception as error:  # a defect here must not end the thread
            logger.exception("the inference thread failed")
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
        queue.answered(jobs)
        return True

    def _answer(self, jobs: list[Job]) -> None:
        """Settle the future of every job."""
        started_s = self._clock()
        runnable: list[tuple[Job, Inputs]] = []
        for job in jobs:
            self.metrics.stage("queue", started_s - job.queued_s)
            if self._in_time(job, started_s):
                try:
                    runnable.append((job, inputs_of(job.request, job.served.policy)))
                except RequestError as error:
                    job.future.set_exception(error)
        if not runnable:
            return
        prepared_s = self._clock()
        served = runnable[0][0].served
        results = infer_batch(
            served, [inputs for _, inputs in runnable], hide_reason=self.policies.blind
        )
        done_s = self._clock()
        self.metrics.stage("preprocess", prepared_s - started_s)
        self.metrics.call(served.alias, len(runnable), done_s - prepared_s)
        for (job, inputs), result in zip(runnable, results, strict=True):
            if not self._in_time(job, done_s):
                continue
            if isinstance(result, RequestError):
                job.future.set_exception(result)
                continue
            job.future.set_result(
                Answer(
                    actions=result,
                    images={name: image[0] for name, image in inputs.images.items()},
                    state=inputs.state[0],
                    queue_ms=1e3 * (started_s - job.queued_s),
                    infer_ms=1e3 * (done_s - prepared_s),
                    batch=len(runnable),
                )
            )

    def _in_time(self, job: Job, now_s: float) -> bool:
        if job.deadline_s is None or now_s <= job.deadline_s:
            return True
        self.metrics.drop("deadline")
        job.future.set_exception(too_late(job, now_s))
        return False
