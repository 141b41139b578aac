from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import asgi
from fakes.policies import (
    BlockingPolicy,
    BrokenPolicy,
    CountingPolicy,
    make_request,
    started_gateway,
)
from fastapi.testclient import TestClient
from rlco_datasets import spec
from rlco_datasets.contract import Contract, franka_third_person
from rlco_datasets.images import policy_image
from rlco_policy_server.app import create_app
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.wire import v1
from rlco_policy_server.wire.metadata import ServerMetadata

Response = Any  # what TestClient returns differs between versions of starlette
MSGPACK = {"Content-Type": v1.CONTENT_TYPE}


@pytest.fixture
def policy(contract: Contract) -> CountingPolicy:
    return CountingPolicy(contract)


@pytest.fixture
def http(policy: CountingPolicy) -> Iterator[TestClient]:
    with started_gateway(policy) as gateway:
        yield client_of(gateway)


def client_of(gateway: Gateway, **options: Any) -> TestClient:
    app = create_app(gateway, EndpointSettings(**options))
    return TestClient(app, raise_server_exceptions=False)


def post(http: TestClient, request: v1.InferRequest) -> Response:
    return http.post("/v1/infer", content=v1.encode_request(request), headers=MSGPACK)


def refused(response: Response, status: int, error: str) -> str:
    body = response.json()
    assert set(body) == {"error", "detail", "remedy"}
    assert (response.status_code, body["error"]) == (status, error), body
    assert body["remedy"]
    return str(body["detail"])


def test_it_is_alive_and_ready(http: TestClient) -> None:
    assert http.get("/healthz").text == "OK\n"
    assert http.get("/readyz").status_code == 200


def test_an_observation_gets_its_chunk(
    http: TestClient, contract: Contract, policy: CountingPolicy
) -> None:
    response = post(http, make_request(contract, state=np.full(10, 0.25, np.float32)))
    assert response.headers["content-type"] == v1.CONTENT_TYPE
    reply = v1.decode_reply(response.content)
    np.testing.assert_allclose(reply.actions[:, :2], [[0.2, 0.25]] * contract.horizon, atol=1e-3)
    stamps = 1_700_000_000_000_000_000 + contract.period_ns * np.arange(contract.horizon)
    np.testing.assert_array_equal(reply.target_times_ns, stamps)
    assert (reply.policy_id, reply.session, reply.step) == ("checkpoint0", "trial-7", 12)
    assert policy.instructions[-1] == "put the cube in the bowl"


def test_a_policy_sized_image_gives_the_same_action_as_its_source_frame(
    http: TestClient, contract: Contract
) -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(0, 255, (240, 320, 3), np.uint8)
    small = policy_image(source, contract.cameras[0])
    first, second = (
        v1.decode_reply(post(http, make_request(contract, images={"third_person": i})).content)
        for i in (source, small)
    )
    np.testing.assert_array_equal(first.actions, second.actions)


def test_metadata_states_the_contract_in_full(http: TestClient, contract: Contract) -> None:
    metadata = spec.from_plain(ServerMetadata, http.get("/v1/metadata").json(), where="test")
    (served,) = metadata.policies
    assert served.contract == contract
    assert served.contract_id == contract.id
    assert (served.policy_id, served.normalisation_id) == ("checkpoint0", "normalisation0")
    assert (served.horizon, served.executed_steps) == (contract.horizon, contract.executed_steps)
    assert metadata.software_version


def test_blind_mode_shows_aliases_only(contract: Contract) -> None:
    broken = BrokenPolicy(contract, RuntimeError("OpenVLA layer 3"))
    with started_gateway(CountingPolicy(contract), broken, blind=True) as gateway:
        http = client_of(gateway)
        text = http.get("/v1/metadata").text
        assert "checkpoint" not in text
        assert "normalisation0" not in text
        assert v1.decode_reply(post(http, make_request(contract)).content).policy_id == "default"
        response = post(http, make_request(contract, policy="policy1"))
        assert "OpenVLA" not in refused(response, 500, "policy_failed")


def test_every_alias_reaches_its_own_policy(contract: Contract) -> None:
    policies = [CountingPolicy(contract) for _ in range(2)]
    with started_gateway(*policies) as gateway:
        http = client_of(gateway)
        reply = post(http, make_request(contract, policy="policy1", instruction="second"))
        assert v1.decode_reply(reply.content).policy_id == "checkpoint1"
    assert [policy.instructions for policy in policies] == [["warm up"], ["warm up", "second"]]


def test_an_unknown_policy_is_refused_with_the_aliases(
    http: TestClient, contract: Contract
) -> None:
    detail = refused(post(http, make_request(contract, policy="rlco2")), 404, "unknown_policy")
    assert "'rlco2'" in detail
    assert "['default']" in detail


def test_another_content_type_is_refused(http: TestClient, contract: Contract) -> None:
    body = v1.encode_request(make_request(contract))
    for headers in (
        {"Content-Type": "application/json"},
        {},
        MSGPACK | {"Content-Encoding": "gzip"},
    ):
        response = http.post("/v1/infer", content=body, headers=headers)
        refused(response, 415, "wrong_content_type")


def test_a_malformed_body_is_refused(http: TestClient) -> None:
    response = http.post("/v1/infer", content=b"\x93\x01", headers=MSGPACK)
    assert "not an acceptable msgpack" in refused(response, 400, "malformed_body")


def test_a_contract_mismatch_names_the_fields(http: TestClient, contract: Contract) -> None:
    theirs = replace(contract, control_rate_hz=15.0)
    request = make_request(theirs, contract=spec.to_plain(theirs))
    detail = refused(post(http, request), 409, "contract_mismatch")
    assert "control_rate_hz: 15.0 -> 10.0" in detail
    detail = refused(post(http, make_request(theirs)), 409, "contract_mismatch")
    assert theirs.id in detail
    assert contract.id in detail


def test_an_impossible_contract_is_refused(http: TestClient, contract: Contract) -> None:
    request = make_request(contract, contract_id="x", contract={"name": "mine"})
    assert "cameras" in refused(post(http, request), 422, "bad_contract")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"images": {"wrist": np.zeros((240, 320, 3), np.uint8)}}, "wrong_cameras", "wrist"),
        ({"images": {"third_person": np.zeros((9, 9, 3), np.uint8)}}, "wrong_image", "9x9"),
        ({"state": np.zeros(9, np.float32)}, "wrong_state", r"(9,)"),
        ({"state": np.full(10, np.nan, np.float32)}, "wrong_state", "NaN"),
        ({"state": np.full(10, np.inf, np.float32)}, "wrong_state", "[0, 1, 2"),
    ],
)
def test_an_observation_off_the_contract_is_refused(
    http: TestClient, contract: Contract, changes: dict[str, Any], error: str, says: str
) -> None:
    assert says in refused(post(http, make_request(contract, **changes)), 422, error)


def test_a_body_too_large_is_refused_declared_or_not(contract: Contract) -> None:
    with started_gateway(CountingPolicy(contract)) as gateway:
        http = client_of(gateway, max_body_bytes=1000)
        refused(post(http, make_request(contract)), 413, "body_too_large")
        chunks = (bytes(400) for _ in range(3))
        response = http.post("/v1/infer", content=chunks, headers=MSGPACK)
        refused(response, 413, "body_too_large")


@pytest.mark.parametrize(
    ("result", "error", "says"),
    [
        (np.full((1, 4, 7), np.nan, np.float32), "non_finite_action", "NaN"),
        (np.full((1, 4, 7), -np.inf, np.float32), "non_finite_action", "not sent"),
        (np.zeros((1, 3, 7), np.float32), "wrong_action_shape", "(1, 3, 7)"),
        (RuntimeError("weights fell out"), "policy_failed", "weights fell out"),
        (["left"], "policy_failed", "ValueError"),
    ],
)
def test_a_broken_policy_sends_no_action(
    contract: Contract, result: Any, error: str, says: str
) -> None:
    with started_gateway(BrokenPolicy(contract, result)) as gateway:
        http = client_of(gateway)
        for _ in range(2):  # the thread lives on
            response = post(http, make_request(contract))
            assert says in refused(response, 500, error)
            assert response.headers["content-type"] == "application/json"


def test_unknown_routes_and_methods_are_answered_as_json(http: TestClient) -> None:
    refused(http.get("/v2/infer"), 404, "no_such_route")
    refused(http.get("/v1/infer"), 405, "no_such_route")


def test_a_full_queue_answers_503_and_the_waiting_ones_are_answered(contract: Contract) -> None:
    policy = BlockingPolicy(contract)
    with (
        started_gateway(policy, queue_limit=2) as gateway,
        ThreadPoolExecutor(1) as pool,
        client_of(gateway) as http,
    ):
        running = pool.submit(post, http, make_request(contract))
        assert policy.entered.wait(180)
        waiting = [gateway.engine.submit(*job(gateway, contract)) for _ in range(2)]
        response = post(http, make_request(contract))
        refused(response, 503, "queue_full")
        assert int(response.headers["retry-after"]) > 0
        assert http.get("/healthz").status_code == 200  # inference does not block the loop
        policy.release.set()
        assert running.result(180).status_code == 200
        assert all(future.result(180).queue_ms >= 0 for future in waiting)


def test_a_client_that_hung_up_leaves_the_queue(contract: Contract) -> None:
    policy = BlockingPolicy(contract)
    with started_gateway(policy) as gateway:
        running = gateway.engine.submit(*job(gateway, contract))
        assert policy.entered.wait(180)
        stale = v1.encode_request(make_request(contract, instruction="stale"))
        asyncio.run(asgi.post(create_app(gateway), stale, hang_up=True))
        policy.release.set()
        running.result(180)
        gateway.engine.submit(*job(gateway, contract)).result(180)
    assert "stale" not in policy.instructions
    assert len(policy.instructions) == 3  # the warm-up and the two that stayed


def job(gateway: Gateway, contract: Contract) -> tuple[Any, v1.InferRequest]:
    return gateway.engine.policies.select(None), make_request(contract)


def test_concurrent_clients_get_their_own_answers_from_one_thread(contract: Contract) -> None:
    policy = CountingPolicy(contract)
    with (
        started_gateway(policy, queue_limit=64) as gateway,
        client_of(gateway) as http,
        ThreadPoolExecutor(8) as pool,
    ):

        def ask(i: int) -> tuple[int, float]:
            state = np.full(10, i, np.float32)
            answer = post(http, make_request(contract, state=state, step=i, session=f"s{i}"))
            reply = v1.decode_reply(answer.content)
            return reply.step, float(reply.actions[0, 1])

        assert list(pool.map(ask, range(64))) == [(i, i) for i in range(64)]
    assert len(policy.threads) == 1
    assert threading.get_ident() not in policy.threads


def test_shutdown_closes_the_engine(contract: Contract) -> None:
    with started_gateway(CountingPolicy(contract)) as gateway:
        app = create_app(gateway)
        with TestClient(app):
            pass
        http = TestClient(app)
        assert http.get("/readyz").status_code == 503
        refused(post(http, make_request(contract)), 503, "shutting_down")


def test_policies_of_two_contracts_are_each_held_to_their_own(contract: Contract) -> None:
    other = franka_third_person()
    with started_gateway(CountingPolicy(contract), CountingPolicy(other)) as gateway:
        http = client_of(gateway)
        assert post(http, make_request(other, policy="policy1")).status_code == 200
        refused(post(http, make_request(other)), 409, "contract_mismatch")
