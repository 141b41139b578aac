"""Thousands of damaged requests: every answer is a 2xx or 4xx, and the server still serves."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgpack
import numpy as np
from fakes.asgi import post
from fakes.policies import CountingPolicy, make_request, started_gateway
from rlco_datasets import spec
from rlco_datasets.contract import Contract
from rlco_policy_server.app import create_app
from rlco_policy_server.wire import v1

REQUESTS = 4000
WILD: list[Any] = [
    None,
    True,
    -1,
    2**63,
    1e308,
    float("nan"),
    "",
    "x" * 300,
    b"\0",
    [],
    {},
    [[[]]],
    {"a": 1},
]


def mutate(rng: random.Random, body: bytes) -> bytes:
    """Return `body` damaged as bytes or as a message."""
    kind = rng.randrange(4)
    if kind == 0:
        return body[: rng.randrange(len(body))]
    if kind == 1:
        damaged = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(min(len(damaged), 400))] = rng.randrange(256)
        return bytes(damaged)
    if kind == 2:
        return rng.randbytes(rng.randrange(300))
    message = msgpack.unpackb(body)
    target: Any = message
    for _ in range(rng.randint(0, 3)):  # walk into the message, then spoil what is there
        inner = [value for value in target.values() if isinstance(value, dict) and value]
        if not inner:
            break
        target = rng.choice(inner)
    key = rng.choice(list(target))
    if rng.random() < 0.2:
        del target[key]
    else:
        target[key] = rng.choice(WILD)
    return bytes(msgpack.packb(message))


def test_fuzzed_requests_are_never_a_server_error(contract: Contract) -> None:
    small = {"third_person": np.zeros((64, 64, 3), np.uint8)}
    request = make_request(contract, images=small, contract=spec.to_plain(contract))
    body = v1.encode_request(request)
    other = msgpack.unpackb(body) | {"contract_id": "other"}  # reaches the contract's own parser
    rng = random.Random(0)
    with started_gateway(CountingPolicy(contract)) as gateway:
        app = create_app(gateway)

        async def fuzz() -> dict[int, int]:
            counts: dict[int, int] = {}
            for i in range(REQUESTS):
                source = msgpack.packb(other) if i % 4 == 0 else body
                status = await post(app, mutate(rng, source))
                counts[status] = counts.get(status, 0) + 1
            assert await post(app, body) == 200
            return counts

        counts = asyncio.run(fuzz())
    assert sum(counts.values()) == REQUESTS
    assert set(counts) <= {200, 400, 404, 409, 422}, counts
    assert counts[400] > REQUESTS // 2
    assert counts[422] > 0
