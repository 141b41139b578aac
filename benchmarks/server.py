"""The price of asking a policy over HTTP, on loopback.

One `PolicyClient` and one server process for each policy. `compact` is compared with the bare call
of the same checkpoint in this process; the null policy, which answers at once, with a plain TCP
exchange of as many bytes. Blocks of both sides alternate, so that a busy machine disturbs both.

python benchmarks/server.py --json server.json
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rlco_datasets.contract import Contract, franka_compact, franka_third_person
from rlco_datasets.images import policy_image
from rlco_policy_server.checkpoints import load_checkpoints
from rlco_policy_server.client import PolicyClient
from rlco_policy_server.example_request import example_request
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.process import ServeOptions, exit_cleanly_on_signals, serve
from rlco_policy_server.wire import v1
from rlco_trainer.untrained import write_untrained

BLOCKS = 10


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure round trips; prints a table."""

    calls: int = 1000
    """Round trips for each row."""
    json: Path | None = None
    """Where to write the rows."""


class NullPolicy:
    """Answers zeros at once."""

    def __init__(self, contract: Contract) -> None:
        """Speak `contract`."""
        self.contract = contract

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Return a chunk of zeros."""
        return np.zeros((len(state), self.contract.horizon, 7), np.float32)


def serve_null(contract: Contract, ready_file: Path) -> None:
    """Run a server of the null policy in this process."""
    exit_cleanly_on_signals()
    served = ServedPolicy(alias="default", policy=NullPolicy(contract), policy_id="null")
    serve([served], ServeOptions(port=0, ready_file=ready_file))


def serve_checkpoint(folder: Path, ready_file: Path) -> None:
    """Run a server of one checkpoint in this process, as `rlco-serve` does."""
    exit_cleanly_on_signals()
    policies = load_checkpoints({"default": folder}, torch_threads=1)
    serve(policies, ServeOptions(port=0, ready_file=ready_file))


@contextlib.contextmanager
def server(target: Callable[..., None], *arguments: object) -> Iterator[str]:
    """Yield the URL of a server in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        process = multiprocessing.get_context("spawn").Process(
            target=target, args=(*arguments, ready)
        )
        process.start()
        try:
            while not ready.exists():
                process.join(0.1)
                if process.exitcode is not None:
                    raise RuntimeError(f"the server ended with status {process.exitcode}")
            yield json.loads(ready.read_text())["url"]
        finally:
            process.terminate()
            process.join()


@contextlib.contextmanager
def tcp_exchange(there: int, back: int) -> Iterator[Callable[[], None]]:
    """Yield a call that sends `there` bytes to another thread and waits for `back` bytes."""
    near = socket.create_server(("127.0.0.1", 0))

    def receive(connection: socket.socket, count: int) -> bool:
        while count:
            chunk = connection.recv(min(count, 1 << 20))
            if not chunk:
                return False
            count -= len(chunk)
        return True

    def answer() -> None:
        connection, _ = near.accept()
        with connection:
            while receive(connection, there):
                connection.sendall(bytes(back))

    thread = threading.Thread(target=answer)
    thread.start()
    with near, socket.create_connection(near.getsockname()) as far:
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def exchange() -> None:
            far.sendall(bytes(there))
            receive(far, back)

        yield exchange
    thread.join()


def alternate(
    ours: Callable[[], object], peer: Callable[[], object], calls: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def rows(name: str, ours: NDArray[np.float64], peer: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the rows of one comparison: median and 99th percentile."""
    result = []
    for label, quantile in (("p50", 50), ("p99", 99)):
        a, b = float(np.percentile(ours, quantile)), float(np.percentile(peer, quantile))
        result.append(
            {
                "name": f"{name}, {label}",
                "ours": a,
                "peer": b,
                "ratio": a / b,
                "unit": "ms",
                "better": "lower",
                "n": len(ours),
            }
        )
    return result


def round_trip(client: PolicyClient, *, source: bool) -> Callable[[], v1.Reply]:
    """Return a call that asks for one chunk, with source frames or policy images."""
    request = example_request(client.contract, instruction="x", policy=None, stamp_ns=0)
    images = {
        camera.name: request.images[camera.name]
        if source
        else policy_image(request.images[camera.name], camera)
        for camera in client.contract.cameras
    }

    def call() -> v1.Reply:
        return client.infer(
            images=images,
            state=request.state,
            instruction="put the cube in the bowl",
            session="bench",
            step=0,
            stamp_ns=0,
        )

    return call


def measure_null(contract: Contract, *, source: bool, calls: int) -> list[dict[str, Any]]:
    """Compare the null policy behind the server with a bare exchange of as many bytes."""
    camera = contract.cameras[0]
    size = (camera.source_width, camera.source_height) if source else (camera.width, camera.height)
    with (
        server(serve_null, contract) as url,
        PolicyClient(url, contract, timeout_s=10) as client,
        tcp_exchange(size[0] * size[1] * 3, 500) as exchange,
    ):
        times = alternate(round_trip(client, source=source), exchange, calls)
    return rows(f"null policy, {size[0]}x{size[1]} image vs TCP exchange", *times)


def measure_compact(calls: int) -> list[dict[str, Any]]:
    """Compare the compact policy behind the server with its bare call."""
    contract = franka_compact()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        write_untrained("compact", contract, checkpoint, seed=0)
        (served,) = load_checkpoints({"default": checkpoint}, torch_threads=1)
        request = example_request(contract, instruction="x", policy=None, stamp_ns=0)
        images = {
            camera.name: policy_image(request.images[camera.name], camera)[None]
            for camera in contract.cameras
        }

        def bare() -> object:
            return served.policy.infer(images, request.state[None], ["put the cube in the bowl"])

        with (
            server(serve_checkpoint, checkpoint) as url,
            PolicyClient(url, contract, timeout_s=10) as client,
        ):
            times = alternate(round_trip(client, source=False), bare, calls)
    return rows("compact, 64x64 image vs bare policy call", *times)


def main() -> None:
    """Measure, print, and write the rows."""
    arguments = tyro.cli(Arguments)
    torch.set_num_threads(1)
    results = measure_compact(arguments.calls)
    results += measure_null(franka_compact(), source=False, calls=arguments.calls)
    results += measure_null(franka_third_person(), source=False, calls=arguments.calls)
    results += measure_null(franka_third_person(), source=True, calls=arguments.calls)
    print(f"{'round trip':58} {'ours':>9} {'peer':>9} {'ratio':>7}")
    for row in results:
        print(f"{row['name']:58} {row['ours']:6.2f} ms {row['peer']:6.2f} ms {row['ratio']:6.1f}x")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
