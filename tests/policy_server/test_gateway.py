"""Sessions, limits, ensembling, shadow and metrics, without HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest
from fakes.policies import BlockingPolicy, CountingPolicy, make_request, served, started_gateway
from rlco_datasets.contract import Contract
from rlco_policy_server.context import CALLER
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway, GatewaySettings
from rlco_policy_server.limits import RateLimiter
from rlco_policy_server.sessions import SessionTable
from rlco_policy_server.shadow import Shadow
from rlco_policy_server.wire.v1 import InferRequest, Reply


def ask(gateway: Gateway, *requests: InferRequest, caller: str = "anonymous") -> list[Reply]:
    """Ask one after the other, on one event loop."""

    async def run() -> list[Reply]:
        CALLER.set(caller)
        return [await gateway.infer(request, endpoint="test") for request in requests]

    return asyncio.run(run())


def refusal(gateway: Gateway, request: InferRequest, *, caller: str = "anonymous") -> RequestError:
    with pytest.raises(RequestError) as refused:
        ask(gateway, request, caller=caller)
    return refused.value


def metric(gateway: Gateway, line: str) -> float:
    """Return the value of the metric that is printed as `line`."""
    found = [
        float(text.rpartition(" ")[2])
        for text in gateway.metrics.exposition().decode().splitlines()
        if text.startswith(line + " ")
    ]
    assert len(found) == 1, line
    return found[0]


def brightness(contract: Contract, level: int, step: int) -> InferRequest:
    images = {"third_person": np.full((64, 64, 3), level, np.uint8)}
    stamp_ns = 10**18 + step * contract.period_ns
    return make_request(contract, images=images, step=step, stamp_ns=stamp_ns)


def test_chunks_of_a_session_are_ensembled_on_request(contract: Contract) -> None:
    settings = GatewaySettings(ensemble_decay=0.0)
    with started_gateway(CountingPolicy(contract), settings=settings) as gateway:
        first, second = ask(gateway, brightness(contract, 0, 0), brightness(contract, 255, 2))
        np.testing.assert_allclose(first.actions[:, 0], 0.0)
        np.testing.assert_allclose(second.actions[:, 0], [0.5, 0.5, 1.0, 1.0])
        gateway.reset("trial-7")  # a new episode: nothing to average with
        (third,) = ask(gateway, brightness(contract, 0, 3))
        np.testing.assert_allclose(third.actions[:, 0], 0.0)


def test_chunks_are_sent_as_they_are_by_default(contract: Contract) -> None:
    with started_gateway(CountingPolicy(contract)) as gateway:
        _, second = ask(gateway, brightness(contract, 0, 0), brightness(contract, 255, 2))
        np.testing.assert_allclose(second.actions[:, 0], 1.0)


def test_chunks_of_two_policies_are_never_averaged(contract: Contract) -> None:
    settings = GatewaySettings(ensemble_decay=0.0)
    policies = CountingPolicy(contract), CountingPolicy(contract)
    with started_gateway(*policies, settings=settings) as gateway:
        gateway.routes["trial-7"] = "policy1"
        ask(gateway, brightness(contract, 0, 0))
        del gateway.routes["trial-7"]
        (reply,) = ask(gateway, brightness(contract, 255, 2))
        np.testing.assert_allclose(reply.actions[:, 0], 1.0)


def test_a_newer_observation_of_a_session_replaces_the_waiting_one(contract: Contract) -> None:
    policy = BlockingPolicy(contract)

    async def run(gateway: Gateway) -> list[object]:
        def infer(**changes: object) -> asyncio.Task[Reply]:
            request = make_request(contract, **changes)
            return asyncio.create_task(gateway.infer(request, endpoint="test"))

        running = infer(session="first")
        assert await asyncio.to_thread(policy.entered.wait, 180)
        old = infer(step=1)
        await asyncio.sleep(0)
        new = infer(step=2)
        await asyncio.sleep(0)
        policy.release.set()
        return await asyncio.gather(running, old, new, return_exceptions=True)

    with started_gateway(policy) as gateway:
        _, old, new = asyncio.run(run(gateway))
        assert isinstance(old, RequestError)
        assert (old.status, old.error) == (409, "superseded")
        assert isinstance(new, Reply)
        assert new.step == 2
        assert metric(gateway, 'rlco_drops_total{reason="superseded"}') == 1
        outcomes = [("ok", 2), ("superseded", 1)]
        for outcome, count in outcomes:
            line = f'rlco_requests_total{{endpoint="test",outcome="{outcome}"}}'
            assert metric(gateway, line) == count


def test_sessions_of_two_callers_never_meet(contract: Contract) -> None:
    settings = GatewaySettings(ensemble_decay=0.0)
    with started_gateway(CountingPolicy(contract), settings=settings) as gateway:
        ask(gateway, brightness(contract, 0, 0), caller="bench-1")
        (reply,) = ask(gateway, brightness(contract, 255, 2), caller="bench-2")
        np.testing.assert_allclose(reply.actions[:, 0], 1.0)


def test_an_operators_route_answers_a_session_that_names_no_policy(contract: Contract) -> None:
    with started_gateway(CountingPolicy(contract), CountingPolicy(contract)) as gateway:
        gateway.routes["trial-7"] = "policy1"
        named = make_request(contract, policy="default")
        replies = ask(gateway, make_request(contract), named, make_request(contract, session="x"))
        assert [reply.policy_id for reply in replies] == ["checkpoint1", *["checkpoint0"] * 2]


def test_a_key_that_asks_too_often_is_refused_and_no_other(contract: Contract) -> None:
    with started_gateway(
        CountingPolicy(contract), settings=GatewaySettings(rate_limit_hz=1e-3)
    ) as gateway:
        ask(gateway, make_request(contract), caller="bench-1")
        error = refusal(gateway, make_request(contract), caller="bench-1")
        assert (error.status, error.error) == (429, "rate_limited")
        ask(gateway, make_request(contract), caller="bench-2")
        ask(gateway, make_request(contract), make_request(contract))  # without keys: no limit


def test_a_bucket_fills_at_its_rate() -> None:
    now_s = [0.0]
    limiter = RateLimiter(2.0, clock=lambda: now_s[0])
    for _ in range(2):
        limiter.require("a")
    with pytest.raises(RequestError, match="2 times a second"):
        limiter.require("a")
    now_s[0] += 0.5
    limiter.require("a")
    with pytest.raises(ValueError, match="0"):
        RateLimiter(0)


def test_sessions_are_limited_and_idle_ones_make_room() -> None:
    now_s = [0.0]
    table = SessionTable(limit=2, idle_s=10.0, clock=lambda: now_s[0])
    table.touch(("a", "1"))
    now_s[0] = 5.0
    first = table.touch(("a", "2"))
    assert table.touch(("a", "2")) is first
    with pytest.raises(RequestError, match="2 sessions are in use"):
        table.touch(("a", "3"))
    now_s[0] = 10.0  # the first one has been silent long enough
    table.touch(("a", "3"))
    assert len(table) == 2
    table.remove(("a", "2"))
    table.remove(("a", "unknown"))
    assert len(table) == 1


def test_a_deadline_counts_from_arrival(contract: Contract) -> None:
    async def ask_late(gateway: Gateway) -> Reply:
        arrived_s = time.perf_counter() - 2.0  # it took long to arrive in full
        request = make_request(contract, deadline_s=1.0)
        return await gateway.infer(request, endpoint="test", arrived_s=arrived_s)

    with started_gateway(CountingPolicy(contract)) as gateway:
        with pytest.raises(RequestError, match="deadline"):
            asyncio.run(ask_late(gateway))
        ask(gateway, make_request(contract, deadline_s=600.0))


def test_too_many_sessions_are_refused(contract: Contract) -> None:
    with started_gateway(
        CountingPolicy(contract), settings=GatewaySettings(session_limit=1)
    ) as gateway:
        ask(gateway, make_request(contract), make_request(contract, session=""))
        error = refusal(gateway, make_request(contract, session="second"))
        assert (error.status, error.error) == (503, "too_many_sessions")
        gateway.reset("trial-7")
        ask(gateway, make_request(contract, session="second"))


def test_a_shadow_answers_too_and_only_the_log_hears_of_it(
    contract: Contract, tmp_path: Path
) -> None:
    class Bold(CountingPolicy):
        def infer(self, *observation):  # type: ignore[no-untyped-def]
            actions = super().infer(*observation)
            actions[..., 2] += 0.03
            return actions

    log = tmp_path / "shadow.jsonl"
    shadow = served(Bold(contract), alias="shadow", policy_id="bold")
    with started_gateway(CountingPolicy(contract)) as plain:
        gateway = Gateway(plain.engine, shadow=Shadow(plain.engine, shadow, log))
        (reply,) = ask(gateway, make_request(contract))
        np.testing.assert_array_equal(reply.actions[:, 2], 0.0)
        assert reply.policy_id == "checkpoint0"
        assert [policy.alias for policy in gateway.metadata().policies] == ["default"]
        assert gateway.close()  # the shadow's answer is awaited
    (row,) = map(json.loads, log.read_text().splitlines())
    assert row["translation_m"] == pytest.approx(0.03)
    assert (row["policy_id"], row["session"], row["step"]) == ("bold", "trial-7", 12)
    assert metric(gateway, "rlco_shadow_difference_metres_count") == 1


def test_a_failing_shadow_costs_no_answer(contract: Contract, tmp_path: Path) -> None:
    class Broken(CountingPolicy):
        def infer(self, *observation):  # type: ignore[no-untyped-def]
            raise RuntimeError("shadow fell over")

    log = tmp_path / "shadow.jsonl"
    with started_gateway(CountingPolicy(contract)) as plain:
        shadow = Shadow(plain.engine, served(Broken(contract), alias="shadow"), log)
        gateway = Gateway(plain.engine, shadow=shadow)
        ask(gateway, make_request(contract))
        assert gateway.close()
    assert "shadow fell over" in json.loads(log.read_text())["error"]


def test_stages_and_batches_are_measured(contract: Contract) -> None:
    with started_gateway(CountingPolicy(contract)) as gateway:
        ask(gateway, make_request(contract))
        for stage in ("decode", "total"):
            assert metric(gateway, f'rlco_stage_seconds_count{{stage="{stage}"}}') == 1
        for stage in ("queue", "preprocess", "infer"):  # the warm-up counts as well
            assert metric(gateway, f'rlco_stage_seconds_count{{stage="{stage}"}}') == 2
        assert metric(gateway, 'rlco_batch_size_sum{policy="default"}') == 2
        assert metric(gateway, "rlco_sessions") == 1
        assert metric(gateway, "rlco_queue") == 0
