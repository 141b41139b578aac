"""Real processes: announcing, draining, refusing to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes.policies import BrokenPolicy, CountingPolicy
from fakes.processes import server_process
from rlco_datasets.contract import Contract, franka_compact
from rlco_policy_server.client import PolicyClient, Reply, ServerUnavailableError
from rlco_policy_server.engine import Engine, WarmUpError
from rlco_policy_server.options import ServeError, ServeOptions
from rlco_policy_server.policies import PolicySet, ServedPolicy
from rlco_policy_server.process import bind, serve
from rlco_policy_server.references import CheckpointReferenceError, parse_references

SERVE_BLOCKING = str(Path(__file__).parents[1] / "fakes" / "serve_blocking.py")


def ask(client: PolicyClient) -> Reply:
    return client.infer(
        images={"third_person": np.zeros((64, 64, 3), np.uint8)},
        state=np.zeros(10),
        instruction="push the cube",
        session="s",
        step=0,
        stamp_ns=0,
    )


@pytest.fixture
def pipes(tmp_path: Path) -> tuple[Path, Path]:
    started, go = tmp_path / "started", tmp_path / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    return started, go


@pytest.fixture
def server(tmp_path: Path, pipes: tuple[Path, Path]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    ready = tmp_path / "ready.json"
    arguments = [SERVE_BLOCKING, str(ready), *map(str, pipes)]
    with server_process(*arguments, ready_file=ready) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_zero(
    server: tuple[str, subprocess.Popen[str]],
    pipes: tuple[Path, Path],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    url, process = server
    started, go = pipes
    ready = json.loads((tmp_path / "ready.json").read_text())
    assert ready == {"url": url, "pid": process.pid, "policies": ["default"]}
    with (
        PolicyClient(url, franka_compact(), timeout_s=180) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        reply = pool.submit(ask, client)
        assert started.read_text() == "started"
        process.send_signal(number)
        go.write_text("go")
        assert reply.result(180).policy_id == "piped"
        assert process.wait(180) == 0
        assert not (tmp_path / "ready.json").exists()
        with pytest.raises(ServerUnavailableError):
            ask(client)


def test_a_port_in_use_is_refused(contract: Contract) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        served = ServedPolicy(alias="default", policy=CountingPolicy(contract), policy_id="x")
        with pytest.raises(ServeError, match=rf"127\.0\.0\.1:{port}.*--port"):
            serve([served], ServeOptions(port=port))


def test_a_broken_policy_never_opens_the_port(contract: Contract, tmp_path: Path) -> None:
    policy = BrokenPolicy(contract, np.full((1, 4, 7), np.nan, np.float32))
    policy.instructions.append("skip the good first answer")
    ready = tmp_path / "ready.json"
    ready.write_text("stale")
    served = ServedPolicy(alias="B", policy=policy, policy_id="x")
    with pytest.raises(WarmUpError, match=r"policy 'B' failed its warm-up.*NaN"):
        serve([served], ServeOptions(port=0, ready_file=ready))
    assert not ready.exists()


def test_accepted_connections_do_not_wait_to_send() -> None:
    # asyncio sets TCP_NODELAY only on sockets that state their protocol
    with bind(ServeOptions(port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "robot.lab"])
def test_other_machines_are_let_in_only_with_a_key(host: str) -> None:
    with pytest.raises(ServeError, match="--keys"):
        ServeOptions(host=host)
    assert ServeOptions(host=host, keys=Path("keys.yaml")).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    assert ServeOptions(host=host).host == host


@pytest.mark.parametrize("options", [{"port": -1}, {"port": 70000}, {"queue_limit": 0}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ServeError, match=str(next(iter(options.values())))):
        ServeOptions(**options)  # type: ignore[arg-type]


def test_checkpoint_references_have_aliases() -> None:
    assert parse_references(["runs/a"]) == {"default": "runs/a"}
    assert parse_references(["A=runs/a", "B=./x=1"]) == {"A": "runs/a", "B": "./x=1"}
    assert parse_references(["./x=1"]) == {"default": "./x=1"}
    with pytest.raises(CheckpointReferenceError, match=r"'default' is taken by a"):
        parse_references(["a", "b"])
    with pytest.raises(CheckpointReferenceError, match="at least one"):
        parse_references([])


def test_aliases_are_distinct_plain_words(contract: Contract) -> None:
    policy = CountingPolicy(contract)
    with pytest.raises(ValueError, match="alias 'a b' must be"):
        ServedPolicy(alias="a b", policy=policy, policy_id="x")
    twice = [ServedPolicy(alias="a", policy=policy, policy_id="x")] * 2
    with pytest.raises(ValueError, match="distinct aliases"):
        PolicySet(twice)


def test_two_aliases_have_no_default_unless_one_is_called_so(contract: Contract) -> None:
    policy = CountingPolicy(contract)

    def named(*aliases: str) -> PolicySet:
        return PolicySet([ServedPolicy(alias=a, policy=policy, policy_id=a) for a in aliases])

    assert named("A").default == "A"
    assert named("A", "B").default is None
    assert named("A", "default").default == "default"


def test_an_engine_needs_room_for_one(contract: Contract) -> None:
    served = ServedPolicy(alias="a", policy=CountingPolicy(contract), policy_id="x")
    with pytest.raises(ValueError, match="queue_limit"):
        Engine(PolicySet([served]), queue_limit=0)
