"""Record mode: requests and replies as episodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from fakes.policies import CountingPolicy, make_request, started_gateway
from hypothesis import given
from hypothesis import strategies as st
from rlco_datasets.contract import Contract, franka_compact
from rlco_datasets.store import EpisodeStore
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.metrics import Metrics
from rlco_policy_server.record import Recorder, within_limits
from rlco_policy_server.wire.v1 import InferRequest


def record(
    contract: Contract, folder: Path, *requests: InferRequest, reset_after: int | None = None
) -> EpisodeStore:
    """Ask, close, and return the store that was recorded."""

    async def run(gateway: Gateway) -> None:
        for i, request in enumerate(requests):
            await gateway.infer(request, endpoint="test")
            if i == reset_after:
                gateway.reset(request.session)

    with started_gateway(CountingPolicy(contract)) as plain:
        gateway = Gateway(plain.engine, recorder=Recorder(folder, plain.metrics, source="sim"))
        asyncio.run(run(gateway))
        assert gateway.close()
    (path,) = folder.iterdir()
    return EpisodeStore.open(path, contract=contract)


def test_an_episode_holds_what_was_asked_and_sent(contract: Contract, tmp_path: Path) -> None:
    requests = [
        make_request(contract, step=i, stamp_ns=7, state=np.full(10, 0.01 * i, np.float32))
        for i in range(3)
    ]
    store = record(contract, tmp_path, *requests)
    assert len(store) == 1
    episode = store.episode(0)
    np.testing.assert_allclose(episode.state[:, 0], [0.0, 0.01, 0.02])
    assert episode.images["third_person"].shape == (3, 64, 64, 3)
    np.testing.assert_allclose(episode.extras["chunk"][:, 0, 1], [0.0, 0.01, 0.02])
    assert episode.extras["chunk"].shape == (3, contract.horizon, 7)
    # 0.2 m forward was sent; the store holds what the contract allows in that direction
    assert np.linalg.norm(episode.actions[0, :3]) == pytest.approx(contract.max_translation_m)
    np.testing.assert_array_equal(episode.extras["client_step"], [0, 1, 2])
    np.testing.assert_array_equal(episode.extras["client_stamp_ns"], 7)
    assert episode.metadata.instruction == "put the cube in the bowl"
    assert (episode.metadata.source, episode.metadata.flags) == (
        "sim",
        ("served", "outcome_unknown"),
    )
    assert episode.metadata.extra == {"session": "trial-7", "policy_id": "checkpoint0"}


def test_resets_instructions_and_sessions_end_episodes(contract: Contract, tmp_path: Path) -> None:
    words = ["a", "a", "b", "b"]
    requests = [make_request(contract, instruction=word) for word in words]
    other = make_request(contract, session="other", instruction="")
    store = record(contract, tmp_path, *requests, other, reset_after=0)
    found = sorted(
        (store.metadata(i).instruction, int(store.lengths[i])) for i in range(len(store))
    )
    assert found == [("(none)", 1), ("a", 1), ("a", 1), ("b", 2)]


def test_a_store_that_is_there_is_added_to(contract: Contract, tmp_path: Path) -> None:
    for episodes in (1, 2):
        assert len(record(contract, tmp_path, make_request(contract))) == episodes


def test_a_store_in_use_costs_the_record_not_the_answer(contract: Contract, tmp_path: Path) -> None:
    record(contract, tmp_path, make_request(contract))
    (path,) = tmp_path.iterdir()
    metrics = Metrics()
    with EpisodeStore.open(path, "a"), started_gateway(CountingPolicy(contract)) as plain:
        gateway = Gateway(plain.engine, recorder=Recorder(tmp_path, metrics))
        asyncio.run(gateway.infer(make_request(contract), endpoint="test"))
        assert gateway.close()
    assert 'rlco_drops_total{reason="record"} 1.0' in metrics.exposition().decode()
    assert len(EpisodeStore.open(path)) == 1


@given(st.lists(st.floats(-10, 10, width=32), min_size=7, max_size=7))
def test_limited_actions_keep_their_direction(values: list[float]) -> None:
    contract, action = franka_compact(), np.array(values, np.float32)
    limited = within_limits(action, contract)
    for part, limit in ((slice(0, 3), contract.max_translation_m), (slice(3, 6), 0.2)):
        length = np.linalg.norm(action[part])
        assert np.linalg.norm(limited[part]) <= limit * (1 + 1e-6)
        if length <= limit:
            np.testing.assert_array_equal(limited[part], action[part])
        else:
            np.testing.assert_allclose(limited[part] / limit, action[part] / length, atol=1e-5)
    assert 0 <= limited[6] <= 1
