"""Keys, roles, foreign pages, and what operators may do."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from fakes.asgi import converse
from fakes.policies import BrokenPolicy, CountingPolicy, make_request, served, started_gateway
from fastapi import FastAPI
from fastapi.testclient import TestClient
from rlco_datasets.contract import Contract
from rlco_policy_server.app import create_app
from rlco_policy_server.audit import Audit
from rlco_policy_server.context import CALLER, REQUEST_ID
from rlco_policy_server.keys import KeyFileError, add_key, load_keys
from rlco_policy_server.logs import JsonFormatter
from rlco_policy_server.policies import Policy, ServedPolicy
from rlco_policy_server.references import CheckpointReferenceError
from rlco_policy_server.wire import stream, v1
from starlette.testclient import WebSocketDenialResponse

MSGPACK = {"Content-Type": v1.CONTENT_TYPE}


class Loader:
    """Loads the policies it was given, by reference."""

    def __init__(self, **policies: Policy) -> None:
        self.policies = policies

    def load(self, alias: str, reference: str) -> ServedPolicy:
        if reference not in self.policies:
            raise CheckpointReferenceError(f"{reference} is not a checkpoint")
        return served(
            self.policies[reference], alias=alias, policy_id=f"id-{reference}", reference=reference
        )


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "keys.yaml"
    return {role: add_key(path, name=f"a-{role}", role=role) for role in ("infer", "operate")}


@contextmanager
def server(tmp_path: Path, *policies: CountingPolicy, **parts: Any) -> Iterator[TestClient]:
    blind = parts.pop("blind", False)
    with started_gateway(*policies, blind=blind) as gateway:
        app = create_app(gateway, keys=load_keys(tmp_path / "keys.yaml"), **parts)
        yield TestClient(app, raise_server_exceptions=False)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refused(response: Any, status: int, error: str) -> str:
    assert (response.status_code, response.json()["error"]) == (status, error), response.text
    return str(response.json()["detail"])


@pytest.mark.parametrize("header", ["X-Api-Key: {}", "Authorization: Bearer {}"])
def test_every_way_to_send_a_key_lets_in(
    tmp_path: Path, keys: dict[str, str], contract: Contract, header: str
) -> None:
    name, _, value = header.partition(": ")
    with server(tmp_path, CountingPolicy(contract)) as http:
        headers = {name: value.format(keys["infer"]), "X-Request-Id": "trial-7.step-3"}
        body = v1.encode_request(make_request(contract))
        response = http.post("/v1/infer", content=body, headers=MSGPACK | headers)
        assert response.status_code == 200
        assert response.headers["x-request-id"] == "trial-7.step-3"


def test_without_a_valid_key_only_health_answers(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    with server(tmp_path, CountingPolicy(contract)) as http:
        assert http.get("/healthz").status_code == 200
        assert http.get("/readyz").status_code == 200
        for headers in ({}, bearer("guess"), {"Authorization": f"Basic {keys['infer']}"}):
            for path in ("/v1/metadata", "/metrics", "/docs", "/openapi.json", "/nowhere"):
                response = http.get(path, headers=headers)
                refused(response, 401, "no_valid_key")
                assert response.headers["www-authenticate"] == "Bearer"
        body = v1.encode_request(make_request(contract))
        refused(http.post("/v1/infer", content=body, headers=MSGPACK), 401, "no_valid_key")


def test_websockets_need_the_key_too(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    with server(tmp_path, CountingPolicy(contract)) as http:
        for headers in ({}, {"Authorization": "Api-Key guess"}):
            with (
                pytest.raises(WebSocketDenialResponse) as refusal,
                http.websocket_connect("/v1/stream", headers=headers),
            ):
                pass
            refused(refusal.value, 401, "no_valid_key")
        key = {"Authorization": f"Api-Key {keys['infer']}"}  # as openpi's client sends it
        ask = stream.encode(stream.Ask(ask="metadata"))
        assert asyncio.run(converse(cast(FastAPI, http.app), stream.PATH, ask, key)) == 200


def test_a_web_page_of_another_host_is_refused(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    with server(tmp_path, CountingPolicy(contract)) as http:
        headers = bearer(keys["infer"])
        evil = headers | {"Origin": "http://evil.example"}
        refused(http.get("/v1/metadata", headers=evil), 403, "foreign_origin")
        own = headers | {"Origin": "http://testserver"}
        assert http.get("/v1/metadata", headers=own).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "aliases"),
        ("POST", "policies"),
        ("DELETE", "policies/default"),
        ("PUT", "sessions/s"),
        ("DELETE", "sessions/s"),
    ],
)
def test_operating_needs_an_operators_key(
    tmp_path: Path, keys: dict[str, str], contract: Contract, method: str, path: str
) -> None:
    with server(tmp_path, CountingPolicy(contract)) as http:
        headers = bearer(keys["infer"])
        response = http.request(method, f"/v1/operate/{path}", headers=headers)
        refused(response, 403, "not_an_operator")
    with started_gateway(CountingPolicy(contract)) as gateway:  # no key file: nobody operates
        http = TestClient(create_app(gateway))
        refused(http.request(method, f"/v1/operate/{path}"), 403, "not_an_operator")


def test_unblinding_needs_the_operator_and_leaves_a_trace(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    log = tmp_path / "audit.jsonl"
    policies = CountingPolicy(contract), CountingPolicy(contract)
    with server(tmp_path, *policies, blind=True, audit=Audit(log)) as http:
        metadata = http.get("/v1/metadata", headers=bearer(keys["operate"])).text
        assert "checkpoint" not in metadata
        assert log.read_text() == ""
        found = http.get("/v1/operate/aliases", headers=bearer(keys["operate"])).json()
    assert {alias: state["policy_id"] for alias, state in found.items()} == {
        "default": "checkpoint0",
        "policy1": "checkpoint1",
    }
    (row,) = map(json.loads, log.read_text().splitlines())
    assert (row["act"], row["caller"]) == ("unblinded", "a-operate")
    assert row["aliases"] == {"default": "checkpoint0", "policy1": "checkpoint1"}
    assert row["request_id"]


def test_policies_come_and_go_while_the_server_runs(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    log = tmp_path / "audit.jsonl"
    loader = Loader(second=CountingPolicy(contract))
    with server(tmp_path, CountingPolicy(contract), loader=loader, audit=Audit(log)) as http:
        http.headers.update(bearer(keys["operate"]))

        def load(**body: str) -> Any:
            return http.post("/v1/operate/policies", json=body)

        def policy_id(alias: str) -> str:
            body = v1.encode_request(make_request(contract, policy=alias))
            response = http.post("/v1/infer", content=body, headers=MSGPACK)
            return v1.decode_reply(response.content).policy_id

        assert load(alias="B", reference="second").json()["policy_id"] == "id-second"
        assert (policy_id("B"), policy_id("default")) == ("id-second", "checkpoint0")
        load(alias="default", reference="second")
        assert policy_id("default") == "id-second"
        assert http.delete("/v1/operate/policies/default").status_code == 200
        body = v1.encode_request(make_request(contract, policy="default"))
        refused(http.post("/v1/infer", content=body, headers=MSGPACK), 404, "unknown_policy")
        refused(http.delete("/v1/operate/policies/default"), 404, "unknown_policy")
        refused(http.delete("/v1/operate/policies/B"), 409, "last_policy")
    acts = [json.loads(line)["act"] for line in log.read_text().splitlines()]
    assert acts == ["loaded", "loaded", "unloaded"]


def test_a_policy_that_cannot_answer_is_not_put_in_service(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    broken = BrokenPolicy(contract, RuntimeError("weights fell out"))
    broken.instructions.append("skip the good first answer")
    with server(tmp_path, CountingPolicy(contract), loader=Loader(broken=broken)) as http:
        http.headers.update(bearer(keys["operate"]))
        for reference, says in (("broken", "weights fell out"), ("x", "not a checkpoint")):
            body = {"alias": "default", "reference": reference}
            response = http.post("/v1/operate/policies", json=body)
            assert says in refused(response, 422, "cannot_load")
        body = v1.encode_request(make_request(contract))
        assert http.post("/v1/infer", content=body, headers=MSGPACK).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"alias": "a b", "reference": "x"}',
        b'{"alias": "a", "more": 1}',
        b"\xff",
    ],
)
def test_malformed_orders_are_refused(
    tmp_path: Path, keys: dict[str, str], contract: Contract, body: bytes
) -> None:
    with server(tmp_path, CountingPolicy(contract), loader=Loader()) as http:
        headers = bearer(keys["operate"])
        response = http.post("/v1/operate/policies", content=body, headers=headers)
        refused(response, 422, "bad_body")
        large = http.post("/v1/operate/policies", content=bytes(20_000), headers=headers)
        refused(large, 413, "body_too_large")
        long = http.put(f"/v1/operate/sessions/{'s' * 200}", content=b"{}", headers=headers)
        refused(long, 422, "bad_parameter")


def test_an_operator_routes_a_session(
    tmp_path: Path, keys: dict[str, str], contract: Contract
) -> None:
    with server(tmp_path, CountingPolicy(contract), CountingPolicy(contract)) as http:
        http.headers.update(bearer(keys["operate"]))

        def answered_by() -> str:
            body = v1.encode_request(make_request(contract))
            response = http.post("/v1/infer", content=body, headers=MSGPACK)
            return v1.decode_reply(response.content).policy_id

        where = "/v1/operate/sessions/trial-7"
        refused(http.put(where, json={"policy": "unknown"}), 404, "unknown_policy")
        assert http.put(where, json={"policy": "policy1"}).status_code == 200
        assert answered_by() == "checkpoint1"
        assert http.delete(where).status_code == 204
        assert answered_by() == "checkpoint0"


def test_a_key_file_holds_no_key(tmp_path: Path, keys: dict[str, str]) -> None:
    text = (tmp_path / "keys.yaml").read_text()
    assert not any(key in text for key in keys.values())
    found = load_keys(tmp_path / "keys.yaml")
    assert [found.find(keys[role]).name for role in keys] == ["a-infer", "a-operate"]  # type: ignore[union-attr]
    assert found.find("") is None
    assert found.find(found.keys[0].sha256) is None


def test_key_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    with pytest.raises(KeyFileError, match="rlco-serve key"):
        load_keys(path)
    add_key(path, name="ada", role="infer")
    with pytest.raises(KeyFileError, match="'ada' already"):
        add_key(path, name="ada", role="infer")
    with pytest.raises(KeyFileError, match="key name 'a b'"):
        add_key(path, name="a b", role="infer")
    path.write_text("keys: [{name: ada, role: root, sha256: 12}]")
    with pytest.raises(KeyFileError, match="role"):
        load_keys(path)
    path.write_text("keys: []")
    with pytest.raises(KeyFileError, match="at least one key"):
        load_keys(path)


def test_logs_are_json_and_name_the_request() -> None:
    CALLER.set("bench-1")
    REQUEST_ID.set("r7")
    try:
        raise ValueError("bad")
    except ValueError as error:
        details = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "infer %s", ("ok",), details)
    record.fields = {"step": 3}
    row = json.loads(JsonFormatter().format(record))
    assert (row["message"], row["level"], row["step"]) == ("infer ok", "info", 3)
    assert (row["request_id"], row["caller"]) == ("r7", "bench-1")
    assert "ValueError: bad" in row["traceback"]
    CALLER.set("anonymous")
    REQUEST_ID.set("")
