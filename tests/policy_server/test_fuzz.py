"""Thousands of damaged requests to every decoder: each is answered, none is a server error."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from fakes.asgi import Frame, converse, post
from fakes.policies import CountingPolicy, make_request, started_gateway
from fastapi import FastAPI
from rlco_datasets import spec
from rlco_datasets.contract import Contract
from rlco_policy_server.app import create_app
from rlco_policy_server.gateway import Gateway, GatewaySettings
from rlco_policy_server.wire import numpy_json, numpy_msgpack, stream, v1

WILD: list[Any] = [
    *(None, True, -1, 2**63, 1e308, float("nan"), float("inf")),
    *("", "x" * 300, "\0", [], {}, [[[]]], {"a": 1}, [10**9], "|O", "<c16", "<f8"),
    b"\0",
]
STATE = np.array([0.45, 0.1, 0.3, 1, 0, 0, 0, -1, 0, 0.08])
FRAME = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A good message, how to ask with it, and how to take it apart and put it together."""

    good: bytes
    ask: Callable[[FastAPI, bytes], Awaitable[int]]
    loads: Callable[[bytes], Any]
    dumps: Callable[[Any], bytes]
    answer: int = 200


def load_msgpack(body: bytes) -> Any:
    return msgpack.unpackb(body, strict_map_key=False)


def dump_json(message: Any) -> bytes:
    return json.dumps(message, default=repr).encode()


def ask_act(app: FastAPI, body: bytes) -> Awaitable[int]:
    return post(app, body, path="/act", content_type="application/json")


def over(path: str, *, text: bool = False) -> Callable[[FastAPI, bytes], Awaitable[int]]:
    def ask(app: FastAPI, body: bytes) -> Awaitable[int]:
        frame: Frame = body.decode(errors="replace") if text else body
        return converse(app, path, frame)

    return ask


def targets(contract: Contract) -> dict[str, Target]:
    """Return one target for each decoder."""
    request = make_request(
        contract,
        images={"third_person": FRAME},
        contract=spec.to_plain(contract),
        deadline_s=600.0,
    )
    other = replace(request, contract_id="other")
    chunking = replace(request, prefix=np.zeros((2, 7), np.float32), delay_s=0.1)
    act = {"image": FRAME, "instruction": "push", "state": STATE}
    droid = {
        "endpoint": "infer",
        "observation/exterior_image_0_left": FRAME,
        "observation/cartesian_position": STATE[:6],
        "observation/gripper_position": np.zeros(1),
        "session_id": "a",
        "prompt": "push",
    }
    plain = {
        "observation/images/third_person": FRAME,
        "observation/state": STATE,
        "prompt": "push",
    }
    packed: dict[str, Any] = {"loads": load_msgpack, "dumps": msgpack.packb}
    in_json: dict[str, Any] = {"loads": json.loads, "dumps": dump_json, "ask": ask_act}
    question = stream.encode(stream.Ask(ask="reset", session="a")).encode()
    once = numpy_json.dumps(act)
    return {
        "v1": Target(good=v1.encode_request(request), ask=post, **packed),
        "v1 jpeg": Target(good=v1.encode_request(request, jpeg_quality=90), ask=post, **packed),
        "v1 contract": Target(good=v1.encode_request(other), ask=post, answer=409, **packed),
        "v1 chunking": Target(good=v1.encode_request(chunking), ask=post, answer=422, **packed),
        "stream": Target(good=v1.encode_request(request), ask=over("/v1/stream"), **packed),
        "stream text": Target(
            good=question, ask=over("/v1/stream", text=True), loads=json.loads, dumps=dump_json
        ),
        "openpi": Target(good=numpy_msgpack.pack(plain), ask=over("/"), **packed),
        "roboarena": Target(good=numpy_msgpack.pack(droid), ask=over("/roboarena"), **packed),
        "act": Target(good=once, **in_json),
        "act twice": Target(good=numpy_json.dumps({"encoded": once.decode()}), **in_json),
    }


def mutate(rng: random.Random, target: Target) -> bytes:
    """Return the target's message damaged as bytes or as a structure."""
    body = target.good
    kind = rng.randrange(5)
    if kind == 0:
        return body[: rng.randrange(len(body))]
    if kind == 1:
        damaged = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(min(len(damaged), 600))] = rng.randrange(256)
        return bytes(damaged)
    if kind == 2:
        return rng.randbytes(rng.randrange(300))
    message = target.loads(body)
    if set(message) == {"encoded"}:
        message["encoded"] = json.dumps(spoil(rng, json.loads(message["encoded"])), default=repr)
    return target.dumps(spoil(rng, message))


def spoil(rng: random.Random, message: Any) -> Any:
    """Walk into the message, then remove or replace what is there."""
    target: Any = message
    for _ in range(rng.randint(0, 3)):
        inner = [value for value in target.values() if isinstance(value, dict) and value]
        if not inner:
            break
        target = rng.choice(inner)
    key = rng.choice(list(target))
    if rng.random() < 0.2:
        del target[key]
    else:
        target[key] = rng.choice(WILD)
    return message


@contextmanager
def served(contract: Contract) -> Iterator[tuple[FastAPI, Gateway]]:
    settings = GatewaySettings(rate_limit_hz=1e9)
    with started_gateway(CountingPolicy(contract), settings=settings) as gateway:
        yield create_app(gateway), gateway


async def fuzz(app: FastAPI, contract: Contract, count: int, seed: int) -> dict[str, Counter[int]]:
    """Return what `count` damaged messages were answered with, by target."""
    rng = random.Random(seed)
    chosen = targets(contract)
    counts: dict[str, Counter[int]] = {name: Counter() for name in chosen}
    for i in range(count):
        name = list(chosen)[i % len(chosen)]
        target = chosen[name]
        body = mutate(rng, target)
        try:
            counts[name][await target.ask(app, body)] += 1
        except BaseException as error:
            error.add_note(f"{name}: {body[:500]!r}")
            raise
    for name, target in chosen.items():  # and still the good ones are answered
        assert await target.ask(app, target.good) == target.answer, name
    return counts


def check(counts: dict[str, Counter[int]]) -> None:
    for name, statuses in counts.items():
        assert set(statuses) <= {200, 400, 404, 409, 413, 422}, (name, statuses)
        assert statuses[400] > 0.3 * statuses.total(), (name, statuses)


def test_fuzzed_requests_are_never_a_server_error(contract: Contract) -> None:
    with served(contract) as (app, _):
        check(asyncio.run(fuzz(app, contract, 1800, seed=0)))


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_ten_thousand_fuzzed_requests_leave_no_trace(contract: Contract) -> None:
    with served(contract) as (app, gateway):
        check(asyncio.run(fuzz(app, contract, 2000, seed=1)))  # every cache is warm after these
        threads, before = set(threading.enumerate()), resident_bytes()
        check(asyncio.run(fuzz(app, contract, 10_000, seed=2)))
        grown = resident_bytes() - before
        assert gateway.ready
        assert {t.name for t in threads} == {t.name for t in threading.enumerate()}
    # a tenth of the messages kept would be 15 MB
    assert grown < 12e6, f"{grown / 1e6:.1f} MB more after 10,000 requests"
