"""Two ways to ask: through a running server, or a checkpoint with no pipeline at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.client import PolicyClient
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.options import ServeOptions
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.process import start_gateway
from rlco_policy_server.replay.diagnosis import Ask
from rlco_policy_server.replay.frames import Frame
from rlco_policy_server.wire import v1

SESSION = "replay"


def server(client: PolicyClient, policy: str | None) -> Ask:
    """Return a way to ask the server behind `client`, as a robot does."""

    def ask(frame: Frame) -> NDArray[np.float32]:
        return client.infer(
            images=frame.images,
            state=frame.state,
            instruction=frame.instruction,
            session="",
            step=0,
            stamp_ns=0,
            policy=policy,
        ).actions

    return ask


def direct(served: ServedPolicy) -> Ask:
    """Return a way to ask a policy itself."""

    def ask(frame: Frame) -> NDArray[np.float32]:
        images = {name: image[None] for name, image in frame.images.items()}
        return np.asarray(served.policy.infer(images, frame.state[None], [frame.instruction])[0])

    return ask


@contextmanager
def own_server(served: ServedPolicy) -> Iterator[Ask]:
    """Yield a way to ask `served` through the whole server but the network: encoded and decoded."""
    gateway: Gateway = start_gateway([served], ServeOptions())
    try:
        with asyncio.Runner() as runner:

            def ask(frame: Frame) -> NDArray[np.float32]:
                request = v1.InferRequest(
                    images=frame.images,
                    state=frame.state,
                    instruction=frame.instruction,
                    session="",
                    step=0,
                    stamp_ns=0,
                    contract_id=served.policy.contract.id,
                )
                message = v1.decode_request(v1.encode_request(request))
                reply = runner.run(gateway.infer(message, endpoint="replay"))
                return v1.decode_reply(v1.encode_reply(reply)).actions

            yield ask
    finally:
        gateway.close()
