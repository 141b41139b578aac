from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from fakes.policies import BlockingPolicy, CountingPolicy, running_server, started_gateway
from rlco_datasets.contract import Contract, franka_third_person
from rlco_policy_server.client import (
    ContractMismatchError,
    PolicyClient,
    Reply,
    ServerReplyError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from rlco_policy_server.wire import v1


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


def test_the_documents_ten_lines_work(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "http://127.0.0.1:8000" in code
    code = code.replace("http://127.0.0.1:8000", url).replace("timeout_s=0.5", "timeout_s=30")
    exec(compile(code, "serving.md", "exec"), {})
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


class Impostor(BaseHTTPRequestHandler):
    """Answers `/v1/metadata` like the real server, and inference with whatever it was given."""

    protocol_version = "HTTP/1.1"
    metadata: ClassVar[bytes]
    answer: ClassVar[bytes]

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._send(self.metadata)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def impostor(url: str) -> Iterator[str]:
    Impostor.metadata = httpx.get(f"{url}/v1/metadata").content
    server = HTTPServer(("127.0.0.1", 0), Impostor)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


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
    ],
)
def test_a_wrong_reply_is_never_returned(
    impostor: str, contract: Contract, answer: bytes, match: str
) -> None:
    Impostor.answer = reply()
    with PolicyClient(impostor, contract, timeout_s=30) as client:
        assert ask(client).policy_id == "checkpoint0"
        Impostor.answer = answer
        with pytest.raises(ServerReplyError, match=match):
            ask(client)


@pytest.mark.parametrize("metadata", [b"{}", b"[]", b"\xff", b'{"policies": []}', b"<html>"])
def test_something_else_at_the_url_is_called_so(
    impostor: str, contract: Contract, metadata: bytes
) -> None:
    Impostor.metadata = metadata
    with pytest.raises(ServerReplyError, match="Check the URL"):
        PolicyClient(impostor, contract, timeout_s=30)


def test_an_idle_connection_that_the_server_closed_is_opened_again(
    impostor: str, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    Impostor.answer = reply()
    answer = Impostor.do_POST
    asked: list[bool] = []

    def hang_up_once(handler: Impostor) -> None:
        if asked:
            answer(handler)
        asked.append(True)
        handler.close_connection = True

    monkeypatch.setattr(Impostor, "do_POST", hang_up_once)
    with PolicyClient(impostor, contract, timeout_s=30) as client:
        assert ask(client).step == 0
    assert len(asked) == 2
