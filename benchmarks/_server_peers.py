"""The servers that `server.py` measures: ours, and the patterns of openpi's and OpenVLA's.

The two patterns are written anew after reading theirs: openpi's decodes, infers and encodes in the
handler of an asyncio websocket; OpenVLA's is a synchronous FastAPI route behind a patched `json`.
All of them call the same policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import CameraSpec, Contract, franka_third_person
from rlco_policy_server.commands.loading import LoadOptions
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.options import ServeOptions
from rlco_policy_server.policies import Policy, ServedPolicy
from rlco_policy_server.process import bind, exit_cleanly_on_signals, serve

NO_LIMIT_HZ = 1e6


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


def null_contract(cameras: int) -> Contract:
    """Return a contract of one or two cameras with frames of 224x224, as for openpi."""
    specs = tuple(
        CameraSpec(
            name=name,
            source_width=224,
            source_height=224,
            crop=(0, 0, 224, 224),
            width=224,
            height=224,
        )
        for name in ("third_person", "wrist")[:cameras]
    )
    return replace(franka_third_person(), name="null", cameras=specs)


def policy_of(source: Path | int) -> Policy:
    """Return the policy of a checkpoint, or the null policy of so many cameras."""
    if isinstance(source, int):
        return NullPolicy(null_contract(source))
    loaded: Policy = LoadOptions().loader().load("default", str(source)).policy
    return loaded


def serve_ours(source: Path | int, ready_file: Path) -> None:
    """Run our server in this process."""
    exit_cleanly_on_signals()
    served = ServedPolicy(alias="default", policy=policy_of(source), policy_id="bench")
    options = ServeOptions(
        port=0,
        ready_file=ready_file,
        rate_limit=NO_LIMIT_HZ,
        queue_limit=64,
        endpoints=EndpointSettings(keymap=("openpi=rlco",)),
    )
    serve([served], options)


def serve_openpi_pattern(source: Path | int, ready_file: Path) -> None:
    """Run a server as openpi's: everything in the event loop, one observation after another."""
    import websockets.asyncio.server
    from openpi_client import msgpack_numpy

    policy = policy_of(source)
    cameras = policy.contract.camera_names

    async def talk(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.send(msgpack_numpy.packb({}))
        async for frame in connection:
            seen = msgpack_numpy.unpackb(frame)
            images = {name: seen[f"observation/images/{name}"][None] for name in cameras}
            state = seen["observation/state"].astype(np.float32)[None]
            actions = policy.infer(images, state, [seen["prompt"]])
            await connection.send(msgpack_numpy.packb({"actions": np.asarray(actions[0])}))

    async def run() -> None:
        options: dict[str, Any] = {"compression": None, "max_size": None}
        async with websockets.asyncio.server.serve(talk, "127.0.0.1", 0, **options) as server:
            announce(ready_file, next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    asyncio.run(run())


def serve_echo(reply_bytes: int, ready_file: Path) -> None:
    """Run a websocket server that decodes nothing, infers nothing and answers with zeros."""
    import websockets.asyncio.server

    async def talk(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for _ in connection:
            await connection.send(bytes(reply_bytes))

    async def run() -> None:
        options: dict[str, Any] = {"compression": None, "max_size": None}
        async with websockets.asyncio.server.serve(talk, "127.0.0.1", 0, **options) as server:
            announce(ready_file, next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    asyncio.run(run())


def serve_openvla_pattern(source: Path | int, ready_file: Path) -> None:
    """Run a server as OpenVLA's `deploy.py`: json-numpy patched in, a route in the thread pool."""
    import json_numpy
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    exit_cleanly_on_signals()
    json_numpy.patch()
    policy = policy_of(source)
    app = FastAPI()

    @app.post("/act")
    def act(payload: dict[str, Any]) -> JSONResponse:
        images = {policy.contract.camera_names[0]: payload["image"][None]}
        state = payload["state"].astype(np.float32)[None]
        actions = policy.infer(images, state, [payload["instruction"]])
        return JSONResponse(np.asarray(actions[0, 0]))

    listener = bind(ServeOptions(port=0))
    listener.listen()
    announce(ready_file, listener.getsockname()[1])
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def announce(ready_file: Path, port: int) -> None:
    """Write where a server listens."""
    partial = ready_file.with_suffix(".partial")
    partial.write_text(json.dumps({"url": f"http://127.0.0.1:{port}"}), encoding="utf-8")
    partial.replace(ready_file)


@contextlib.contextmanager
def server(target: Callable[..., None], *arguments: object) -> Iterator[tuple[str, int]]:
    """Yield the URL and the process id of a server in a process of its own."""
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
            assert process.pid is not None
            yield json.loads(ready.read_text())["url"], process.pid
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


def observation(contract: Contract, seed: int = 0) -> dict[str, Any]:
    """Return photo-like images and a state, as `PolicyClient.infer` takes them."""
    import cv2

    rng = np.random.default_rng(seed)
    images = {}
    for camera in contract.cameras:
        coarse = rng.integers(0, 255, (12, 12, 3), np.uint8)
        smooth = cv2.resize(coarse, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 3, smooth.shape)
        images[camera.name] = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    state = np.array([0.45, 0, 0.3, 1, 0, 0, 0, -1, 0, 0.08], np.float32)
    return {"images": images, "state": state, "instruction": "put the cube in the bowl"}
