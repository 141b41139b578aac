"""The queue of one inference thread, without a thread."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from fakes.policies import CountingPolicy, make_request, served
from rlco_datasets.contract import Contract
from rlco_policy_server.errors import RequestError
from rlco_policy_server.jobs import ACTIVE_S, Job, JobQueue
from rlco_policy_server.policies import ServedPolicy


class Clock:
    """Tells the time it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def policy(contract: Contract) -> ServedPolicy:
    return served(CountingPolicy(contract), max_batch=4)


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(limit=8, clock=Clock())


def job(policy: ServedPolicy, session: str | None, *, shadow: bool = False, **changes: Any) -> Job:
    request = make_request(policy.policy.contract, session=session or "", **changes)
    future: Future[Any] = Future()
    return Job(
        served=policy, request=request, future=future, queued_s=0.0, session=session, shadow=shadow
    )


def refusal(job: Job) -> str:
    error = job.future.exception(0)
    assert isinstance(error, RequestError)
    return error.error


def test_the_newest_observation_of_a_session_wins_and_keeps_its_place(
    queue: JobQueue, policy: ServedPolicy
) -> None:
    old, other, new = job(policy, "a", step=1), job(policy, "b"), job(policy, "a", step=2)
    assert queue.put(old) is None
    queue.put(other)
    assert queue.put(new) is old
    assert refusal(old) == "superseded"
    assert len(queue) == 2
    assert queue.take() == [new, other]


def test_an_older_observation_does_not_replace_a_newer_one(
    queue: JobQueue, policy: ServedPolicy
) -> None:
    new = job(policy, "a", stamp_ns=2)
    queue.put(new)
    with pytest.raises(RequestError) as refused:
        queue.put(job(policy, "a", stamp_ns=1))
    assert refused.value.error == "superseded"
    assert queue.take() == [new]


def test_requests_without_a_session_never_replace_each_other(
    queue: JobQueue, policy: ServedPolicy
) -> None:
    jobs = [job(policy, None) for _ in range(3)]
    for one in jobs:
        queue.put(one)
    assert queue.take() == jobs


def test_two_policies_of_one_session_are_two_queues(
    queue: JobQueue, policy: ServedPolicy, contract: Contract
) -> None:
    other = served(CountingPolicy(contract), 1)
    first, second = job(policy, "a"), job(other, "a")
    queue.put(first)
    queue.put(second)
    assert [queue.take(), queue.take()] == [[first], [second]]


def test_a_batch_holds_one_policy_and_at_most_its_size(
    queue: JobQueue, policy: ServedPolicy, contract: Contract
) -> None:
    jobs = [job(policy, f"s{i}") for i in range(6)]
    stranger = job(served(CountingPolicy(contract), 1), "x")
    continuing = job(policy, "rtc", prefix=np.zeros((2, 7), np.float32))
    for one in (*jobs[:3], stranger, *jobs[3:], continuing):
        queue.put(one)
    assert queue.take() == jobs[:4]
    assert queue.take() == [stranger]
    assert queue.take() == jobs[4:]
    assert queue.take() == [continuing]


def test_shadow_jobs_wait_for_all_others_and_take_none_of_their_room(
    policy: ServedPolicy,
) -> None:
    queue = JobQueue(limit=1, clock=Clock())
    shadow, real = job(policy, "a", shadow=True), job(policy, "a")
    queue.put(shadow)
    queue.put(real)
    with pytest.raises(RequestError) as refused:
        queue.put(job(policy, "b"))
    assert (refused.value.status, refused.value.error) == (503, "queue_full")
    assert [queue.take(), queue.take()] == [[real], [shadow]]


def test_a_job_whose_client_gave_up_is_left_out(queue: JobQueue, policy: ServedPolicy) -> None:
    gone, stays = job(policy, "a"), job(policy, "b")
    queue.put(gone)
    queue.put(stays)
    gone.future.cancel()
    assert queue.take() == [stays]


def test_a_closed_queue_hands_out_what_waits_and_takes_nothing(
    queue: JobQueue, policy: ServedPolicy
) -> None:
    waiting = job(policy, "a")
    queue.put(waiting)
    queue.close()
    with pytest.raises(RequestError, match="shutting down"):
        queue.put(job(policy, "b"))
    assert queue.take() == [waiting]
    assert queue.take() is None


class WaitedQueue(JobQueue):
    """Notes whether it would have waited for a batch to grow."""

    def may_grow(self, first: Job) -> bool:
        with self._changed:
            return self._may_grow(first)


def test_a_batch_waits_only_for_sessions_that_were_just_active(policy: ServedPolicy) -> None:
    clock = Clock()
    queue = WaitedQueue(limit=8, clock=clock)
    first = job(policy, "a")
    queue.put(first)
    assert not queue.may_grow(first)  # alone: no reason to wait
    queue.answered([job(policy, "b")])
    assert queue.may_grow(first)  # b was answered a moment ago and will ask again
    clock.now_s += ACTIVE_S
    assert not queue.may_grow(first)  # b fell silent


def test_a_wait_for_more_is_bounded(policy: ServedPolicy) -> None:
    queue = JobQueue(limit=8, batch_wait_s=0.01)
    queue.answered([job(policy, "silent")])
    waiting = job(policy, "a")
    queue.put(waiting)
    assert queue.take() == [waiting]  # would hang if it waited for the silent session
