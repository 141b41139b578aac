"""Policies without a network, and servers around them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_policy_server.app import create_app
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.engine import Engine
from rlco_policy_server.frame_protocol import FrameProtocol
from rlco_policy_server.gateway import Gateway, GatewaySettings
from rlco_policy_server.options import ServeOptions
from rlco_policy_server.policies import Policy, PolicySet, ServedPolicy
from rlco_policy_server.process import bind
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES
from rlco_policy_server.wire.v1 import InferRequest


class CountingPolicy:
    """Answers with the brightness of the images and the state, and remembers what it was asked.

    `batches` holds the size of every call.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.instructions: list[str] = []
        self.threads: set[int] = set()
        self.batches: list[int] = []

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Return actions that tell which observation they answer."""
        self.instructions += instructions
        self.threads.add(threading.get_ident())
        self.batches.append(len(state))
        actions = np.zeros((len(state), self.contract.horizon, 7), np.float32)
        brightness = [image.mean(axis=(1, 2, 3)) for image in images.values()]
        actions[..., 0] = np.mean(brightness, axis=0)[:, None] / 255
        actions[..., 1] = state[:, :1]
        return actions


class BlockingPolicy(CountingPolicy):
    """Holds every inference after the warm-up until `release` is set; `entered` says it began."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        self.entered = threading.Event()
        self.release = threading.Event()

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Wait for `release`."""
        if self.instructions:
            self.entered.set()
            if not self.release.wait(180):
                raise TimeoutError("the test forgot to release the policy")
        return super().infer(images, state, instructions)


class BrokenPolicy(CountingPolicy):
    """Answers the warm-up; afterwards returns `result`, or raises it."""

    def __init__(self, contract: Contract, result: NDArray[np.float32] | Exception) -> None:
        super().__init__(contract)
        self.result = result

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Return what no robot should execute."""
        if not self.instructions:
            return super().infer(images, state, instructions)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def make_request(contract: Contract, /, **changes: object) -> InferRequest:
    """Return a request that `contract` accepts, with some fields changed."""
    fields: dict[str, object] = {
        "images": {
            camera.name: np.full((camera.source_height, camera.source_width, 3), 51, np.uint8)
            for camera in contract.cameras
        },
        "state": np.linspace(0, 1, contract.state_dim, dtype=np.float32),
        "instruction": "put the cube in the bowl",
        "session": "trial-7",
        "step": 12,
        "stamp_ns": 1_700_000_000_000_000_000,
        "contract_id": contract.id,
    }
    return InferRequest(**(fields | changes))  # type: ignore[arg-type]


def served(policy: Policy, index: int = 0, **changes: object) -> ServedPolicy:
    """Return `policy` as a server holds it: the first is `default`, the next ones `policy1`, ..."""
    fields: dict[str, object] = {
        "alias": f"policy{index}" if index else "default",
        "policy": policy,
        "policy_id": f"checkpoint{index}",
        "normalisation_id": f"normalisation{index}",
    }
    return ServedPolicy(**(fields | changes))  # type: ignore[arg-type]


@contextlib.contextmanager
def started_gateway(
    *policies: Policy,
    blind: bool = False,
    queue_limit: int = 16,
    settings: GatewaySettings | None = None,
    **parts: Any,
) -> Iterator[Gateway]:
    """Yield a warm gateway; the first policy is `default`, the next ones `policy1`, ..."""
    policy_set = PolicySet([served(p, i) for i, p in enumerate(policies)], blind=blind)
    engine = Engine(policy_set, queue_limit=queue_limit)
    engine.start()
    gateway = Gateway(engine, settings, **parts)
    try:
        yield gateway
    finally:
        for policy in policies:
            if isinstance(policy, BlockingPolicy):
                policy.release.set()
        assert gateway.close(), "the inference thread did not end"


@contextlib.contextmanager
def running_server(gateway: Gateway, settings: EndpointSettings | None = None) -> Iterator[str]:
    """Yield the URL of a real HTTP server in a thread of this process."""
    listener = bind(ServeOptions(port=0))
    listener.listen()
    config = uvicorn.Config(
        create_app(gateway, settings),
        log_level="error",
        loop="asyncio",
        ws=FrameProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        # The socket listens already, so this waits until the application answers.
        httpx.get(f"{url}/healthz", timeout=180, trust_env=False)
        yield url
    finally:
        server.should_exit = True
        thread.join(180)
        listener.close()
