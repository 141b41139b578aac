"""The OpenAPI description: complete for people, and true for schemathesis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import schemathesis
from fakes.policies import CountingPolicy, started_gateway
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from rlco_datasets.contract import franka_compact
from rlco_policy_server.app import create_app
from rlco_policy_server.gateway import GatewaySettings
from schemathesis.checks import CHECKS, load_all_checks

load_all_checks()


@schemathesis.serializer("application/msgpack")
def as_msgpack(ctx: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else bytes(msgpack.packb(value, default=repr))


# A binary body, or arrays as base64, are more than a JSON schema can describe: what the schema lets
# through may still be refused.
LEFT_OUT = ("positive_data_acceptance", "missing_required_header", "unsupported_method")
KEPT = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in LEFT_OUT]


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    unlimited = GatewaySettings(rate_limit_hz=1e9)
    with started_gateway(CountingPolicy(franka_compact()), settings=unlimited) as gateway:
        yield create_app(gateway)


@pytest.fixture(scope="module")
def described(app: Any) -> dict[str, Any]:
    document: dict[str, Any] = app.openapi()
    return document


@pytest.mark.slow
def test_the_server_does_what_it_documents(app: Any) -> None:
    api = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) >= 6
    for operation in operations:

        @settings(
            max_examples=6,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(checks=KEPT)

        check()


def test_every_route_says_what_it_answers(described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            assert route.get("summary") or route.get("description"), (method, path)
            for status, response in route["responses"].items():
                assert response["description"], (method, path, status)


def test_the_bodies_are_typed(described: dict[str, Any]) -> None:
    infer = described["paths"]["/v1/infer"]["post"]
    assert "application/msgpack" in infer["requestBody"]["content"]
    assert "application/msgpack" in infer["responses"]["200"]["content"]
    act = described["paths"]["/act"]["post"]["requestBody"]["content"]["application/json"]
    titles = [form["title"] for form in act["schema"]["anyOf"]]
    assert titles == ["OpenVLA", "OpenVLA-OFT", "double-encoded"]


def test_the_page_is_served(app: Any) -> None:
    assert "openapi.json" in TestClient(app).get("/docs").text
