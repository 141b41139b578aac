"""`AsyncPolicyClient`: what the blocking client does, with `await`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes.policies import BlockingPolicy, CountingPolicy, running_server, started_gateway
from rlco_datasets.contract import Contract
from rlco_policy_server.client import (
    AsyncPolicyClient,
    ContractMismatchError,
    Reply,
    ServerReplyError,
    ServerTimeoutError,
    ServerUnavailableError,
)


@pytest.fixture
def url(contract: Contract) -> Iterator[str]:
    with started_gateway(CountingPolicy(contract)) as gateway, running_server(gateway) as url:
        yield url


async def ask(client: AsyncPolicyClient, step: int = 0, **changes: Any) -> Reply:
    fields: dict[str, Any] = {
        "images": {"third_person": np.zeros((64, 64, 3), np.uint8)},
        "state": np.full(10, step),
        "instruction": "push the cube",
        "session": "trial-1",
        "step": step,
        "stamp_ns": 10**18,
    }
    return await client.infer(**(fields | changes))


def test_many_tasks_share_one_client(url: str, contract: Contract) -> None:
    async def run() -> list[Reply]:
        async with AsyncPolicyClient(url, contract, timeout_s=60, jpeg_quality=95) as client:
            assert (await client.metadata()).policies[0].contract == contract
            await client.reset("trial-1")
            return await asyncio.gather(*(ask(client, step) for step in range(5)))

    replies = asyncio.run(run())
    assert [reply.step for reply in replies] == list(range(5))
    np.testing.assert_allclose([reply.actions[0, 1] for reply in replies], range(5))


def test_refusals_carry_the_servers_remedy(url: str, contract: Contract) -> None:
    async def run() -> None:
        async with AsyncPolicyClient(url, contract, timeout_s=60) as client:
            with pytest.raises(ServerReplyError, match="422 wrong_state") as refusal:
                await ask(client, state=np.zeros(3))
            assert refusal.value.status == 422
            assert (await ask(client)).step == 0

    asyncio.run(run())


def test_another_contract_is_found_at_connect(url: str, contract: Contract) -> None:
    theirs = replace(contract, control_rate_hz=20.0)

    async def run() -> None:
        with pytest.raises(ContractMismatchError, match="control_rate_hz"):
            async with AsyncPolicyClient(url, theirs, timeout_s=60):
                pass

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "error"), [("", ServerUnavailableError), ("/elsewhere", ServerReplyError)]
)
def test_no_server_and_no_stream_are_called_so(
    url: str, contract: Contract, path: str, error: type[Exception]
) -> None:
    async def run() -> None:
        client = AsyncPolicyClient(url + path if path else "http://127.0.0.1:9", contract)
        with pytest.raises(error, match=r"rlco-serve --checkpoint|Check the URL"):
            await ask(client)

    asyncio.run(run())


def test_a_late_reply_is_dropped_and_the_next_call_connects_again(contract: Contract) -> None:
    policy = BlockingPolicy(contract)

    async def run(url: str) -> Reply:
        hasty = AsyncPolicyClient(url, contract, timeout_s=0.3)
        patient = AsyncPolicyClient(url, contract, timeout_s=60)
        with pytest.raises(ServerTimeoutError, match=r"0\.3 s"):
            await ask(hasty, step=1)
        policy.release.set()
        try:
            return await ask(patient, step=2)
        finally:
            await patient.close()

    with started_gateway(policy) as gateway, running_server(gateway) as url:
        assert asyncio.run(run(url)).step == 2


def test_a_restarted_server_is_found_again(contract: Contract) -> None:
    async def run(client: AsyncPolicyClient) -> int:
        return (await ask(client)).step

    with started_gateway(CountingPolicy(contract)) as gateway, asyncio.Runner() as runner:
        with running_server(gateway) as url:
            client = AsyncPolicyClient(url, contract, timeout_s=60)
            assert runner.run(run(client)) == 0
        with pytest.raises(ServerUnavailableError):
            runner.run(run(client))
