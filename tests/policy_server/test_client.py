from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.policies import BlockingPolicy, CountingPolicy, running_server, started_gateway
from fakes.stream_server import Frame, StreamServer
from rlco_datasets.contract import Contract, franka_third_person
from rlco_policy_server.client import (
    ContractMismatchError,
    PolicyClient,
    Reply,
    ServerReplyError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from rlco_policy_server.wire import stream, v1
from rlco_policy_server.wire.metadata import PolicyMetadata, ServerMetadata


@pytest.fixture
def policy(contract: Contract) -> CountingPolicy:
    return CountingPolicy(contract)


@pytest.fixture
def url(policy: CountingPolicy) -> Iterator[str]:
    with started_gateway(policy) as gateway, running_server(gateway) as url:
        yield url


def ask(client: PolicyClient, step: int = 0, **changes: Any) -> Reply:
    camera = client.contract.cameras[0]
    fields: dict[str, Any] = {
        "images": {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8)},
        "state": np.full(client.contract.state_dim, step),
        "instruction": "push the cube",
        "session": "trial-1",
        "step": step,
        "stamp_ns": 10**18,
    }
    return client.infer(**(fields | changes))


def test_the_client_gets_checked_actions(url: str, contract: Contract) -> None:
    with PolicyClient(url + "/", contract, timeout_s=30) as client:
        replies = [ask(client, step) for step in range(3)]
    assert [reply.step for reply in replies] == [0, 1, 2]
    np.testing.assert_allclose(replies[2].actions[:, 1], 2.0)
    assert replies[0].target_times_ns[1] == 10**18 + contract.period_ns
    assert replies[0].policy_id == "checkpoint0"
    assert replies[0].infer_ms >= 0


def test_the_readmes_ten_lines_work(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "http://127.0.0.1:8000" in code
    code = code.replace("http://127.0.0.1:8000", url).replace("timeout_s=0.5", "timeout_s=30")
    exec(compile(code, "README.md", "exec"), {})
    assert "checkpoint0" in capsys.readouterr().out


def test_one_connection_carries_many_requests(url: str, contract: Contract) -> None:
    connections: list[Any] = []
    connect = socket.create_connection

    def counted(*args: Any, **kwargs: Any) -> socket.socket:
        connections.append(args)
        return connect(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", counted)
        with PolicyClient(url, contract, timeout_s=30) as client:
            for step in range(5):
                ask(client, step)
    assert len(connections) == 1


def test_no_server_says_where_and_how_to_start_one(contract: Contract) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServerUnavailableError, match=rf"{url}.*rlco-serve --checkpoint"):
            PolicyClient(url, contract, timeout_s=5)


@pytest.mark.parametrize("url", ["127.0.0.1:1", "ftp://127.0.0.1:1", "http://[::1", "http://a b"])
def test_a_mistyped_url_is_called_so(url: str, contract: Contract) -> None:
    with pytest.raises(ServerUnavailableError, match="correct the URL"):
        PolicyClient(url, contract, timeout_s=5)


def test_a_server_that_went_away_is_unavailable(contract: Contract) -> None:
    with started_gateway(CountingPolicy(contract)) as gateway:
        with running_server(gateway) as url:
            client = PolicyClient(url, contract, timeout_s=5)
            ask(client)
        with pytest.raises(ServerUnavailableError):
            ask(client)


def test_a_late_reply_is_dropped_for_good(contract: Contract) -> None:
    policy = BlockingPolicy(contract)
    with started_gateway(policy) as gateway, running_server(gateway) as url:
        PolicyClient(url, contract, timeout_s=30).close()
        client = PolicyClient(url, contract, timeout_s=0.3)
        with pytest.raises(ServerTimeoutError, match=r"0\.3 s"):
            ask(client, step=1)
        assert policy.entered.wait(60)
        policy.release.set()
        client.timeout_s = 30
        reply = ask(client, step=2)
        assert reply.step == 2
        np.testing.assert_allclose(reply.actions[:, 1], 2.0)


def test_the_deadline_counts_the_whole_call(url: str, contract: Contract) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.2
        return now[0]

    with pytest.raises(ServerTimeoutError):
        PolicyClient(url, contract, timeout_s=0.5, clock=clock)


def test_a_contract_mismatch_is_found_at_connect(url: str, contract: Contract) -> None:
    theirs = replace(contract, control_rate_hz=20.0)
    with pytest.raises(ContractMismatchError, match=r"'default'.*control_rate_hz: 20\.0 -> 10\.0"):
        PolicyClient(url, theirs, timeout_s=30)


def test_each_alias_is_held_to_its_own_contract(contract: Contract) -> None:
    policies = CountingPolicy(contract), CountingPolicy(franka_third_person())
    with started_gateway(*policies) as gateway, running_server(gateway) as url:
        client = PolicyClient(url, franka_third_person(), timeout_s=30)
        assert ask(client, policy="policy1").policy_id == "checkpoint1"
        with pytest.raises(ContractMismatchError, match="horizon: 8 -> 4"):
            ask(client)


def test_a_refusal_carries_the_servers_remedy(url: str, contract: Contract) -> None:
    client = PolicyClient(url, contract, timeout_s=30)
    with pytest.raises(ServerReplyError, match=r"422 wrong_state.*robot state topic") as refusal:
        ask(client, state=np.full(10, np.nan))
    assert (refusal.value.status, refusal.value.error) == (422, "wrong_state")
    with pytest.raises(ServerReplyError, match=r"404 unknown_policy.*\['default'\]"):
        ask(client, policy="other")


class Impostor:
    """Speaks the metadata of the real server, and answers with whatever it was given."""

    def __init__(self, contract: Contract) -> None:
        self.answer: Frame | None = None
        self.asked = 0
        self.first: Frame = stream.encode(
            ServerMetadata(
                policies=(
                    PolicyMetadata(
                        alias="default",
                        policy_id="checkpoint0",
                        contract_id=contract.id,
                        contract=contract,
                        horizon=contract.horizon,
                        executed_steps=contract.executed_steps,
                        control_rate_hz=contract.control_rate_hz,
                    ),
                ),
                default_policy="default",
                blind=False,
                software_version="0",
            )
        )
        self.server = StreamServer(lambda: self.first, self._answer)

    @property
    def url(self) -> str:
        return self.server.url

    def _answer(self, frame: Frame) -> Frame | None:
        self.asked += 1
        return self.answer


@pytest.fixture
def impostor(contract: Contract) -> Iterator[Impostor]:
    impostor = Impostor(contract)
    impostor.server.start()
    yield impostor
    impostor.server.stop()


def reply(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "actions": np.zeros((4, 7), np.float32),
        "target_times_ns": np.zeros(4, np.int64),
        "policy_id": "checkpoint0",
        "session": "trial-1",
        "step": 0,
        "timing": v1.Timing(queue_ms=0, infer_ms=0, total_ms=0),
    }
    return v1.encode_reply(v1.Reply(**(fields | changes)))


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (reply(step=3), "step 3, asked was 'trial-1' step 0"),
        (reply(session="trial-0"), "trial-0"),
        (reply(policy_id="another"), "policy 'another', at connect it was 'checkpoint0'"),
        (reply(actions=np.full((4, 7), np.nan)), "NaN"),
        (
            reply(actions=np.zeros((3, 7)), target_times_ns=np.zeros(3, np.int64)),
            r"shape \(3, 7\), the contract says \(4, 7\)",
        ),
        (reply()[:-3], "not usable"),
        (b"<html>", "not usable"),
        ("<html>", "not usable"),
        ('{"reset": "trial-1"}', "not usable"),
    ],
)
def test_a_wrong_reply_is_never_returned(
    impostor: Impostor, contract: Contract, answer: Frame, match: str
) -> None:
    impostor.answer = reply()
    with PolicyClient(impostor.url, contract, timeout_s=30) as client:
        assert ask(client).policy_id == "checkpoint0"
        impostor.answer = answer
        with pytest.raises(ServerReplyError, match=match):
            ask(client)


@pytest.mark.parametrize(
    "first", ["{}", "[]", '{"metadata": {"policies": []}}', "<html>", b"\x80", '{"reset": "x"}']
)
def test_something_else_at_the_url_is_called_so(
    impostor: Impostor, contract: Contract, first: Frame
) -> None:
    impostor.first = first
    with pytest.raises(ServerReplyError, match="Check the URL"):
        PolicyClient(impostor.url, contract, timeout_s=30)


def test_an_http_server_without_the_stream_is_called_so(url: str, contract: Contract) -> None:
    with pytest.raises(ServerReplyError, match=r"answered 40\d.*Check the URL") as refusal:
        PolicyClient(f"{url}/elsewhere", contract, timeout_s=30)
    assert refusal.value.status in (403, 404)


def test_a_connection_that_the_server_closed_is_opened_again(
    impostor: Impostor, contract: Contract
) -> None:
    impostor.answer = reply()
    with PolicyClient(impostor.url, contract, timeout_s=30) as client:
        assert ask(client).step == 0
        impostor.server.stop()
        impostor.server.start()
        assert ask(client).step == 0
    assert impostor.asked == 2


def test_a_server_that_keeps_hanging_up_is_unavailable(
    impostor: Impostor, contract: Contract
) -> None:
    with (
        PolicyClient(impostor.url, contract, timeout_s=30) as client,
        pytest.raises(ServerUnavailableError),
    ):
        ask(client)
    assert impostor.asked == 2


def test_another_policy_after_a_restart_is_refused(impostor: Impostor, contract: Contract) -> None:
    impostor.answer = reply()
    with PolicyClient(impostor.url, contract, timeout_s=30) as client:
        assert isinstance(impostor.first, str)
        impostor.first = impostor.first.replace("checkpoint0", "checkpoint1")
        impostor.answer = reply(policy_id="checkpoint1")
        impostor.server.stop()
        impostor.server.start()
        with pytest.raises(ServerReplyError, match="'checkpoint1', at connect it was"):
            ask(client)


def test_metadata_and_reset_are_asked_over_the_same_connection(
    url: str, contract: Contract
) -> None:
    with PolicyClient(url, contract, timeout_s=30) as client:
        assert client.metadata().policies[0].contract == contract
        client.reset("trial-1")
        assert ask(client).step == 0


def test_images_may_travel_as_jpeg(url: str, contract: Contract) -> None:
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    images = {"third_person": ramp}
    with (
        PolicyClient(url, contract, timeout_s=30) as raw,
        PolicyClient(url, contract, timeout_s=30, jpeg_quality=95) as jpeg,
    ):
        # the fake policy answers with the images' brightness
        exact, lossy = ask(raw, images=images).actions, ask(jpeg, images=images).actions
    np.testing.assert_allclose(lossy, exact, atol=1 / 255)
    assert not np.array_equal(lossy, exact)


@pytest.mark.parametrize("settings", [{"timeout_s": 0.0}, {"jpeg_quality": 0}])
def test_impossible_settings_are_refused(contract: Contract, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PolicyClient("http://127.0.0.1:1", contract, **settings)
