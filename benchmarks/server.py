"""The price of asking a policy over a network, on loopback, beside openpi's and OpenVLA's servers.

Round trips with a policy that answers at once, throughput and tail with `compact`, JPEG beside raw
images, and the server's memory. Every comparison is one run: both servers are up at once, and their
blocks alternate, so that a busy machine disturbs both.

python benchmarks/server.py --json server.json
"""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import json_numpy
import numpy as np
import requests
import tyro
from _rows import Row, report, row
from _server_peers import (
    null_contract,
    observation,
    serve_echo,
    serve_openpi_pattern,
    serve_openvla_pattern,
    serve_ours,
    server,
    tcp_exchange,
)
from numpy.typing import NDArray
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from rlco_datasets.contract import Contract, franka_compact
from rlco_policy_server.client import PolicyClient
from rlco_trainer.untrained import write_untrained
from websockets.sync.client import connect

BLOCKS = 10
CLIENTS = (1, 4, 16)
Times = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the policy server; prints a table.

    In: nothing. Out: rows of medians, 99th percentiles and rates, ours beside the peer's.
    Example: `python benchmarks/server.py --json runs/bench/server.json`.
    """

    part: Literal["all", "round-trips", "act", "load", "memory"] = "all"
    """What to measure."""
    calls: int = 1000
    """Round trips for each row."""
    memory_requests: int = 100_000
    """How many requests the memory row takes."""
    json: Path | None = None
    """Where to write the rows."""


def alternate(
    ours: Callable[[], object], peer: Callable[[], object], calls: int
) -> tuple[Times, Times]:
    """Return the milliseconds of `calls` calls of each, in alternating blocks."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (ours, peer):
        for _ in range(20):
            call()
    for _ in range(BLOCKS):
        for call, taken in zip((ours, peer), times, strict=True):
            for _ in range(max(1, calls // BLOCKS)):
                start = time.perf_counter()
                call()
                taken.append(1e3 * (time.perf_counter() - start))
    return np.array(times[0]), np.array(times[1])


def compared(name: str, times: tuple[Times, Times]) -> list[Row]:
    """Return the rows of one comparison: median and 99th percentile."""
    return [
        row(f"{name}, {label}", *(float(np.percentile(t, q)) for t in times), "ms", len(times[0]))
        for label, q in (("p50", 50), ("p99", 99))
    ]


def cpu_ms(
    ours: tuple[Callable[[], object], int], peer: tuple[Callable[[], object], int], calls: int
) -> tuple[float, float]:
    """Return the processor time of one call and its server's, in alternating blocks.

    Others on the machine disturb it less than the time on the clock.
    """
    used_s = [0.0, 0.0]
    block = max(1, calls // BLOCKS)
    for _ in range(BLOCKS):
        for side, (call, pid) in enumerate((ours, peer)):
            before_s = server_cpu_s(pid) + time.process_time()
            for _ in range(block):
                call()
            used_s[side] += server_cpu_s(pid) + time.process_time() - before_s
    return 1e3 * used_s[0] / (block * BLOCKS), 1e3 * used_s[1] / (block * BLOCKS)


def server_cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def ask(client: PolicyClient, seed: int = 0) -> Callable[[], object]:
    """Return a call that asks our server for one chunk."""
    fields = observation(client.contract, seed) | {"session": f"bench-{seed}", "stamp_ns": 0}
    return lambda: client.infer(**fields, step=0)


def ask_openpi(url: str, contract: Contract, seed: int = 0) -> Callable[[], object]:
    """Return a call of openpi's own client."""
    parts = urlsplit(url)
    client = WebsocketClientPolicy(parts.hostname or "", parts.port)
    seen = observation(contract, seed)
    fields = {f"observation/images/{name}": image for name, image in seen["images"].items()}
    fields |= {"observation/state": seen["state"], "prompt": seen["instruction"]}
    return lambda: client.infer(fields)


def ask_echo(stack: ExitStack, url: str, sent: int) -> Callable[[], object]:
    """Return a call that sends `sent` bytes over a websocket and waits for the answer."""
    connection = stack.enter_context(
        connect(url.replace("http", "ws"), compression=None, max_size=None)
    )
    payload = os.urandom(sent)

    def call() -> object:
        connection.send(payload)
        return connection.recv()

    return call


def openvla_fields(contract: Contract) -> dict[str, Any]:
    """Return what OpenVLA's users send, and the state that our contracts need."""
    seen = observation(contract)
    return {
        "image": seen["images"]["third_person"],
        "state": seen["state"],
        "instruction": seen["instruction"],
    }


def ask_openvla(url: str, contract: Contract) -> Callable[[], object]:
    """Return a call as OpenVLA's users make it, but with a connection that is kept."""
    fields = openvla_fields(contract)
    session = requests.Session()

    def call() -> object:
        answer = session.post(f"{url}/act", data=json_numpy.dumps(fields), headers=JSON)
        answer.raise_for_status()
        return json_numpy.loads(answer.text)

    return call


JSON = {"Content-Type": "application/json"}


def measure_round_trips(calls: int) -> list[Row]:
    """Compare round trips of two 224x224 images with a policy that answers at once."""
    contract = null_contract(2)
    rows: list[Row] = []
    with ExitStack() as stack:
        url, pid = stack.enter_context(server(serve_ours, 2))
        openpi_url, openpi_pid = stack.enter_context(server(serve_openpi_pattern, 2))
        client = stack.enter_context(PolicyClient(url, contract, timeout_s=60))
        jpeg = stack.enter_context(PolicyClient(url, contract, timeout_s=60, jpeg_quality=90))
        sent, replied = 2 * 224 * 224 * 3 + 400, 500
        exchange = stack.enter_context(tcp_exchange(sent, replied))
        echo_url, _ = stack.enter_context(server(serve_echo, replied))
        theirs = ask_openpi(openpi_url, contract)
        rows += compared(
            "2 images 224x224, null policy: our client and server vs openpi's",
            alternate(ask(client), theirs, calls),
        )
        rows.append(
            row(
                "the same, processor time of client and server for one round trip",
                *cpu_ms((ask(client), pid), (theirs, openpi_pid), calls),
                "ms",
                calls,
            )
        )
        rows += compared(
            "the same, openpi's client on both: our server vs openpi's",
            alternate(ask_openpi(url, contract), theirs, calls),
        )
        rows += compared(
            "the same: our client and server vs a websocket echo of as many bytes",
            alternate(ask(client), ask_echo(stack, echo_url, sent), calls),
        )
        rows += compared(
            "the same: our client and server vs a bare TCP exchange of as many bytes",
            alternate(ask(client), exchange, calls),
        )
        rows += compared(
            "the same: JPEG quality 90 vs raw images, both ours",
            alternate(ask(jpeg), ask(client), calls),
        )
    return rows


def measure_act(calls: int) -> list[Row]:
    """Compare `POST /act` with one image, called by requests and json-numpy."""
    contract = null_contract(1)
    with (
        server(serve_ours, 1) as (url, _),
        server(serve_openvla_pattern, 1) as (openvla_url, _),
    ):
        ours, theirs = ask_openvla(url, contract), ask_openvla(openvla_url, contract)
        rows = compared(
            "POST /act, image 224x224, null policy, requests on both: our server vs OpenVLA's",
            alternate(ours, theirs, calls),
        )
        lean = compared(
            "the same, without the client's own work (raw socket): our server vs OpenVLA's",
            alternate(raw_act(url, contract), raw_act(openvla_url, contract), calls),
        )
    return rows + lean


def raw_act(url: str, contract: Contract) -> Callable[[], object]:
    """Return a call that sends a prepared `POST /act` and waits for the reply's last byte."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = json_numpy.dumps(openvla_fields(contract)).encode()

    def call() -> object:
        connection.request("POST", "/act", body, JSON)
        return connection.getresponse().read()

    return call


def together(asks: list[Callable[[], object]], seconds: float) -> Times:
    """Return the milliseconds of every call that clients make side by side for some seconds."""
    taken: list[list[float]] = [[] for _ in asks]
    until = time.perf_counter() + seconds

    def work(call: Callable[[], object], mine: list[float]) -> None:
        while (start := time.perf_counter()) < until:
            call()
            mine.append(1e3 * (time.perf_counter() - start))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(asks, taken, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.concatenate([np.array(mine) for mine in taken])


def measure_load(calls: int) -> list[Row]:
    """Compare answers per second and the tail with `compact` under 1, 4 and 16 clients."""
    contract, rows = franka_compact(), []
    block_s = max(0.2, calls / 1000)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        write_untrained("compact", contract, checkpoint, seed=0)
        with (
            server(serve_ours, checkpoint) as (url, pid),
            server(serve_openpi_pattern, checkpoint) as (openpi_url, openpi_pid),
            ExitStack() as stack,
        ):
            clients = [
                stack.enter_context(PolicyClient(url, contract, timeout_s=60))
                for _ in range(max(CLIENTS))
            ]
            ours = [ask(client, seed) for seed, client in enumerate(clients)]
            theirs = [ask_openpi(openpi_url, contract, seed) for seed in range(max(CLIENTS))]
            for count in CLIENTS:
                times: tuple[list[Times], list[Times]] = ([], [])
                used_s = [0.0, 0.0]
                for call in (*ours[:count], *theirs[:count]):
                    call()
                for _ in range(BLOCKS // 2):
                    for side, asks in enumerate((ours, theirs)):
                        busy = pid if side == 0 else openpi_pid
                        before_s = server_cpu_s(busy)
                        times[side].append(together(asks[:count], block_s))
                        used_s[side] += server_cpu_s(busy) - before_s
                rates = [float(np.median([len(t) for t in side])) / block_s for side in times]
                tails = [float(np.percentile(np.concatenate(side), 99)) for side in times]
                counts = [sum(map(len, side)) for side in times]
                n = counts[0]
                cpu = [1e3 * s / count for s, count in zip(used_s, counts, strict=True)]
                name = f"compact, {count} clients: ours (batched) vs openpi's (one by one)"
                rows.append(row(f"{name}, answers", *rates, "1/s", n, better="higher"))
                rows.append(row(f"{name}, p99", *tails, "ms", n))
                rows.append(row(f"{name}, processor time of the server", *cpu, "ms", n))
    return rows


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(count: int) -> list[Row]:
    """Compare the most memory of the server during `count` requests with that after a thousand.

    It is sampled all along: what waits for Python's garbage collector rises and falls.
    """
    contract = null_contract(2)
    with (
        server(serve_ours, 2) as (url, pid),
        PolicyClient(url, contract, timeout_s=60) as client,
    ):
        call = ask(client)
        for _ in range(1000):
            call()
        first = most = resident_mb(pid)
        for step in range(count):
            call()
            if step % 1000 == 999:
                most = max(most, resident_mb(pid))
        name = f"most resident memory of the server in {count} requests vs after the first 1000"
        return [row(name, most, first, "MB", count)]


def main() -> None:
    """Measure, print, and write the rows."""
    arguments = tyro.cli(Arguments)
    parts: dict[str, Callable[[], list[Row]]] = {
        "round-trips": lambda: measure_round_trips(arguments.calls),
        "act": lambda: measure_act(arguments.calls),
        "load": lambda: measure_load(arguments.calls),
        "memory": lambda: measure_memory(arguments.memory_requests),
    }
    chosen = list(parts) if arguments.part == "all" else [arguments.part]
    results = [row for part in chosen for row in parts[part]()]
    report(results, arguments.json)


if __name__ == "__main__":
    main()
