"""The queue in front of one inference thread: newest first for each session, batched by policy.

A session has at most one waiting request; a newer observation takes the place of the older one,
which is refused. Requests of one policy are answered together. A batch that could still grow, as
other sessions ask at the same pace, waits for them, but never longer than `batch_wait_s`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.errors import RequestError
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.wire.v1 import InferRequest

ACTIVE_S = 0.05
"""A session that asked, or was answered, this recently is expected to ask again at once."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Actions `(horizon, 7) float32`, all finite, what the policy saw, and where the time went.

    `images`: camera -> `(H, W, 3) uint8` policy image; `state`: `(S,) float32`.
    """

    actions: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    queue_ms: float
    infer_ms: float
    batch: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One request that waits; times are on the queue's clock."""

    served: ServedPolicy
    request: InferRequest
    future: Future[Answer]
    queued_s: float
    deadline_s: float | None = None
    session: Hashable = None
    """Whose observation it is; None for a request without a session."""
    shadow: bool = False
    """Answered only when nothing else waits."""

    @property
    def kind(self) -> tuple[int, bool, bool]:
        """What the jobs of one batch share: policy, with or without a prefix, shadow or not."""
        return id(self.served), self.request.prefix is not None, self.shadow

    def refuse(self, error: RequestError) -> None:
        """Answer with `error`, unless the client gave up before."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class JobQueue:
    """Jobs waiting for one thread; `put` from any thread, `take` from the one."""

    def __init__(
        self,
        *,
        limit: int,
        batch_wait_s: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Hold at most `limit` jobs."""
        if limit < 1:
            raise ValueError(f"queue_limit must be at least 1, got {limit}")
        self._limit = limit
        self._batch_wait_s = batch_wait_s
        self._clock = clock
        self._waiting: dict[Hashable, Job] = {}
        self._last_seen_s: dict[tuple[Hashable, str, bool], float] = {}
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, job: Job) -> Job | None:
        """Add a job; return the older one of its session that it replaced, already refused.

        Raises:
            RequestError: 503 when closed or full, 409 when a newer observation waits already.
        """
        with self._changed:
            if self._closed:
                raise shutting_down()
            key: Hashable = id(job)
            if job.session is not None:
                key = session_key = _session_key(job)
                self._last_seen_s[session_key] = self._clock()
            older = self._waiting.get(key)
            rivals = sum(other.shadow == job.shadow for other in self._waiting.values())
            if older is None and rivals >= self._limit:
                raise RequestError(
                    503,
                    "queue_full",
                    f"{rivals} requests are waiting already.",
                    "Send fewer at a time, or raise --queue-limit.",
                    {"Retry-After": "1"},
                )
            if older is not None and older.request.stamp_ns > job.request.stamp_ns:
                raise superseded(job, older)
            self._waiting[key] = job  # in the place of the older one: a fast client gains nothing
            self._changed.notify()
        if older is not None:
            older.refuse(superseded(older, job))
        return older

    def take(self) -> list[Job] | None:
        """Wait for the next batch and return it, oldest first; None once closed and empty.

        Jobs whose client gave up are left out, so a batch may be empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            jobs = list(self._waiting.values())
            first = next((job for job in jobs if not job.shadow), jobs[0])
            until_s = self._clock() + self._batch_wait_s
            while not self._closed and self._may_grow(first):
                left_s = until_s - self._clock()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            keys = [key for key, job in self._waiting.items() if job.kind == first.kind]
            batch = [self._waiting.pop(key) for key in keys[: first.served.max_batch]]
        return [job for job in batch if job.future.set_running_or_notify_cancel()]

    def answered(self, jobs: list[Job]) -> None:
        """Note that the clients of `jobs` may ask again."""
        with self._changed:
            now_s = self._clock()
            for job in jobs:
                if job.session is not None:
                    self._last_seen_s[_session_key(job)] = now_s

    def close(self) -> None:
        """Take no new jobs; `take` hands out what waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _may_grow(self, first: Job) -> bool:
        if first.session is None or first.shadow:
            return False
        now_s = self._clock()
        self._last_seen_s = {k: t for k, t in self._last_seen_s.items() if now_s - t < ACTIVE_S}
        active = sum(key[1:] == (first.served.alias, False) for key in self._last_seen_s)
        waiting = sum(job.kind == first.kind for job in self._waiting.values())
        return waiting < min(active, first.served.max_batch)


def _session_key(job: Job) -> tuple[Hashable, str, bool]:
    return job.session, job.served.alias, job.shadow


def shutting_down() -> RequestError:
    """Return the refusal of a server that drains."""
    return RequestError(
        503,
        "shutting_down",
        "The server is shutting down.",
        "Connect to its successor.",
        {"Retry-After": "5"},
    )


def superseded(older: Job, newer: Job) -> RequestError:
    """Return the refusal of an observation that is no longer its session's newest."""
    return RequestError(
        409,
        "superseded",
        f"A newer observation of session {older.request.session!r} arrived (step "
        f"{newer.request.step}) while step {older.request.step} was waiting.",
        "Nothing to repair: use the newer one's answer. A client with its own session name never "
        "meets another's.",
    )


def too_late(job: Job, now_s: float) -> RequestError:
    """Return the refusal of an answer that would come after its deadline."""
    return RequestError(
        504,
        "deadline_passed",
        f"After {1e3 * (now_s - job.queued_s):.0f} ms the deadline of "
        f"{1e3 * (job.request.deadline_s or 0):.0f} ms had passed; no action is sent.",
        "Raise the client's deadline, lower the load, or serve a faster policy.",
    )
