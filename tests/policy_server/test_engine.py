"""Batches, deadlines and devices of the inference threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fakes.policies import BlockingPolicy, CountingPolicy, make_request, served
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_policy_server.engine import Engine
from rlco_policy_server.errors import RequestError
from rlco_policy_server.policies import PolicySet, ServedPolicy
from rlco_policy_server.wire.v1 import InferRequest


class PickyPolicy(CountingPolicy):
    """Fails on every batch that holds the instruction `poison`."""

    def infer(
        self, images: dict[str, NDArray[np.uint8]], state: NDArray[np.float32], words: list[str]
    ) -> NDArray[np.float32]:
        actions = super().infer(images, state, words)
        if "poison" in words:
            raise RuntimeError("cannot read this")
        actions[[word == "nan" for word in words]] = np.nan
        return actions


class FlowPolicy(CountingPolicy):
    """Continues a chunk: repeats what is under way, then its last action."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        self.continued: list[tuple[int, int, int]] = []

    def infer_rtc(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: Sequence[str],
        *,
        previous: NDArray[np.float32],
        delay_steps: int,
    ) -> NDArray[np.float32]:
        self.continued.append((len(state), previous.shape[1], delay_steps))
        rest = self.contract.horizon - previous.shape[1]
        return np.concatenate([previous, np.repeat(previous[:, -1:], rest, axis=1)], axis=1)


def answer_together(
    policy: CountingPolicy, requests: list[InferRequest]
) -> tuple[list[Any], Engine]:
    """Return the answers or refusals of requests that wait together behind a blocked one."""
    blocker = BlockingPolicy(policy.contract)
    engine = Engine(PolicySet([served(blocker), served(policy, 1)]))
    engine.start()
    default, other = engine.policies
    try:
        running = engine.submit(default, make_request(policy.contract))
        assert blocker.entered.wait(180)
        futures = [engine.submit(other, request, session=request.session) for request in requests]
        blocker.release.set()
        running.result(180)
        return [future.exception(180) or future.result(0) for future in futures], engine
    finally:
        blocker.release.set()
        assert engine.close()


def test_sessions_that_wait_are_answered_by_one_call_each_with_its_own_chunk(
    contract: Contract,
) -> None:
    policy = CountingPolicy(contract)
    requests = [
        make_request(contract, session=f"s{i}", state=np.full(10, i, np.float32)) for i in range(5)
    ]
    answers, _ = answer_together(policy, requests)
    assert policy.batches == [1, 5]  # the warm-up, then all
    for i, answer in enumerate(answers):
        assert answer.actions.shape == (contract.horizon, 7)
        np.testing.assert_array_equal(answer.actions[:, 1], i)
        np.testing.assert_array_equal(answer.state, i)
        assert answer.images["third_person"].shape == (64, 64, 3)
        assert answer.batch == 5


def test_one_bad_observation_costs_no_other_session_its_action(contract: Contract) -> None:
    requests = [
        make_request(contract, session=f"s{i}", instruction=words)
        for i, words in enumerate(["a", "poison", "b", "nan"])
    ]
    requests.append(make_request(contract, session="s", state=np.zeros(3, np.float32)))
    answers, _ = answer_together(PickyPolicy(contract), requests)
    errors = [getattr(answer, "error", None) for answer in answers]
    assert errors == [None, "policy_failed", None, "non_finite_action", "wrong_state"]


def test_an_answer_after_its_deadline_is_never_sent(contract: Contract) -> None:
    policy = CountingPolicy(contract)
    late = make_request(contract, session="late", deadline_s=0.0)
    answers, engine = answer_together(policy, [late, make_request(contract, session="patient")])
    assert (answers[0].status, answers[0].error) == (504, "deadline_passed")
    assert answers[1].batch == 1  # what came too late was not even computed
    assert 'rlco_drops_total{reason="deadline"} 1.0' in engine.metrics.exposition().decode()


def test_a_deadline_that_passes_during_inference_counts(contract: Contract) -> None:
    clock = [0.0]

    class SlowPolicy(CountingPolicy):
        def infer(self, *observation: Any) -> NDArray[np.float32]:
            clock[0] += 1.0
            return super().infer(*observation)

    engine = Engine(PolicySet([served(SlowPolicy(contract))]), clock=lambda: clock[0])
    engine.start()
    policy = engine.policies.select(None)
    try:
        refused = engine.submit(policy, make_request(contract, deadline_s=0.5)).exception(180)
        assert isinstance(refused, RequestError)
        assert refused.error == "deadline_passed"
        answer = engine.submit(policy, make_request(contract, deadline_s=1.5)).result(180)
        assert answer.infer_ms == pytest.approx(1000)
    finally:
        engine.close()


def test_a_running_chunk_reaches_a_policy_that_can_continue_it(contract: Contract) -> None:
    policy = FlowPolicy(contract)
    running = np.arange(21, dtype=np.float32).reshape(3, 7)
    requests = [
        make_request(contract, session="a", prefix=running, delay_s=0.15),
        make_request(contract, session="b", prefix=running[:1], delay_s=0.0),
        make_request(contract, session="c", prefix=running + 1, delay_s=0.2),
        make_request(contract, session="d", prefix=running[:0]),
    ]
    answers, _ = answer_together(policy, requests)
    # 10 Hz: 0.15 s and 0.2 s are both two steps, so a and c share a call
    assert sorted(policy.continued) == [(1, 1, 0), (2, 3, 2)]
    np.testing.assert_array_equal(answers[0].actions[:3], running)
    np.testing.assert_array_equal(answers[2].actions[:3], running + 1)
    assert answers[3].actions.shape == (contract.horizon, 7)  # nothing under way: as usual


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"prefix": np.zeros((2, 7), np.float32), "delay_s": 0.3}, "wrong_prefix"),
        ({"prefix": np.zeros((2, 7), np.float32), "delay_s": -1.0}, "wrong_prefix"),
        ({"prefix": np.zeros((2, 6), np.float32)}, "wrong_prefix"),
        ({"prefix": np.zeros((9, 7), np.float32)}, "wrong_prefix"),
        ({"prefix": np.full((2, 7), np.nan, np.float32)}, "wrong_prefix"),
    ],
)
def test_an_impossible_running_chunk_is_refused(
    contract: Contract, changes: dict[str, Any], error: str
) -> None:
    (answer,), _ = answer_together(FlowPolicy(contract), [make_request(contract, **changes)])
    assert (answer.status, answer.error) == (422, error)


def test_a_policy_that_cannot_continue_a_chunk_says_so(contract: Contract) -> None:
    request = make_request(contract, prefix=np.zeros((2, 7), np.float32))
    (answer,), _ = answer_together(CountingPolicy(contract), [request])
    assert (answer.status, answer.error) == (422, "no_real_time_chunking")


def test_every_device_has_one_thread_and_they_do_not_wait_for_each_other(
    contract: Contract,
) -> None:
    slow, quick = BlockingPolicy(contract), CountingPolicy(contract)
    policies = [served(slow, device="cuda:0"), served(quick, 1, device="cuda:1")]
    engine = Engine(PolicySet(policies))
    engine.start()
    try:
        running = engine.submit(policies[0], make_request(contract))
        assert slow.entered.wait(180)
        engine.submit(policies[1], make_request(contract)).result(180)  # while the other is busy
        slow.release.set()
        running.result(180)
    finally:
        slow.release.set()
        assert engine.close()
    assert len(slow.threads) == len(quick.threads) == 1
    assert slow.threads != quick.threads
    assert threading.get_ident() not in slow.threads | quick.threads


def test_a_policy_may_be_exchanged_under_load_and_no_request_is_lost(contract: Contract) -> None:
    first, second = CountingPolicy(contract), CountingPolicy(contract)
    engine = Engine(PolicySet([served(first)]), queue_limit=256)
    engine.start()
    stop = threading.Event()

    def ask(client: int) -> int:
        asked = 0
        while not stop.is_set() or asked < 20:
            policy = engine.policies.select(None)
            request = make_request(contract, session=f"s{client}")
            assert engine.submit(policy, request, session=client).result(180).batch >= 1
            asked += 1
        return asked

    try:
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(ask, client) for client in range(4)]
            try:
                for policy in (second, first, second):
                    exchanged: ServedPolicy = served(policy)
                    engine.warm_up(exchanged)
                    engine.policies.put(exchanged)
            finally:
                stop.set()
            assert all(client.result(180) >= 20 for client in running)
    finally:
        assert engine.close()
    assert len(second.batches) > 2
