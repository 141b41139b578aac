"""`/v1/stream` itself: many requests over one connection, spoken without our client."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from fakes.policies import (
    BlockingPolicy,
    CountingPolicy,
    make_request,
    running_server,
    started_gateway,
)
from rlco_datasets.contract import Contract
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.wire import stream, v1
from rlco_policy_server.wire.metadata import ServerMetadata
from websockets.sync.client import ClientConnection, connect

SMALL = {"third_person": np.zeros((64, 64, 3), np.uint8)}


@contextmanager
def connected(
    policy: CountingPolicy, settings: EndpointSettings | None = None
) -> Iterator[ClientConnection]:
    with (
        started_gateway(policy) as gateway,
        running_server(gateway, settings) as url,
        connect(url.replace("http", "ws") + stream.PATH, compression=None) as connection,
    ):
        first = connection.recv()
        assert isinstance(first, str)
        assert isinstance(stream.decode_answer(first), ServerMetadata)
        yield connection


def request(contract: Contract, session: str, step: int = 0, **changes: Any) -> bytes:
    made = make_request(contract, images=SMALL, session=session, step=step, **changes)
    return v1.encode_request(made)


def test_sessions_share_a_connection(contract: Contract) -> None:
    with connected(CountingPolicy(contract)) as connection:
        for session in "abc":
            connection.send(request(contract, session, step=ord(session)))
        replies = [v1.decode_reply(bytes(connection.recv(120))) for _ in range(3)]
    assert {(reply.session, reply.step) for reply in replies} == {(s, ord(s)) for s in "abc"}


def test_a_refusal_says_which_request_and_the_connection_goes_on(contract: Contract) -> None:
    with connected(CountingPolicy(contract)) as connection:
        connection.send(request(contract, "a", step=3, state=np.zeros(2, np.float32)))
        refusal = json.loads(connection.recv(120))
        assert (refusal["status"], refusal["session"], refusal["step"]) == (422, "a", 3)
        connection.send(b"\x93")
        refusal = json.loads(connection.recv(120))
        assert (refusal["error"], refusal["session"]) == ("malformed_body", "")
        connection.send(request(contract, "a", step=4))
        assert v1.decode_reply(bytes(connection.recv(120))).step == 4


def test_what_waits_is_bounded_in_bytes(contract: Contract) -> None:
    policy = BlockingPolicy(contract)
    first = request(contract, "a")
    settings = EndpointSettings(max_body_bytes=len(first) + 100)
    with connected(policy, settings) as connection:
        connection.send(first)
        assert policy.entered.wait(120)
        connection.send(request(contract, "b"))
        assert json.loads(connection.recv(120))["error"] == "too_many_under_way"
        policy.release.set()
        assert v1.decode_reply(bytes(connection.recv(120))).session == "a"
        connection.send(request(contract, "b", instruction="x" * 200))
        assert json.loads(connection.recv(120))["error"] == "body_too_large"


def test_a_client_that_leaves_takes_its_requests_along(contract: Contract) -> None:
    policy = BlockingPolicy(contract)
    with connected(policy) as connection:
        connection.send(request(contract, "a", instruction="under way"))
        assert policy.entered.wait(120)
        connection.send(request(contract, "b", instruction="waiting"))
        connection.send(stream.encode(stream.Ask(ask="reset", session="c")))
        assert "reset" in str(connection.recv(120))  # so the one before has been taken on
        connection.close()
        policy.release.set()
    assert "waiting" not in policy.instructions


def test_answered_requests_are_freed_without_a_garbage_collection(contract: Contract) -> None:
    """Images that wait for the collector are hundreds of megabytes within minutes."""

    def kept() -> int:
        return sum(type(one) is v1.InferRequest for one in gc.get_objects())

    with connected(CountingPolicy(contract)) as connection:
        gc.collect()
        gc.disable()
        try:
            before = kept()
            for step in range(5):
                connection.send(v1.encode_request(make_request(contract, step=step)))
                assert isinstance(connection.recv(120), bytes)
            until_s = time.monotonic() + 180  # the inference thread may hold the last one a moment
            while (left := kept()) > before and time.monotonic() < until_s:
                threading.Event().wait(0.01)
            assert left <= before
        finally:
            gc.enable()
