"""The light client: an observation in, a checked chunk of actions out.

Needs numpy, msgpack, websockets and rlco_datasets only, so that a robot PC needs no torch.

    client = PolicyClient("http://127.0.0.1:8000", franka_compact(), timeout_s=0.5)
    reply = client.infer(images={"third_person": frame}, state=state, instruction="pick the cube",
                         session="trial-1", step=0, stamp_ns=stamp_ns)
    reply.actions  # (horizon, 7) float32

`AsyncPolicyClient` is the same with `await`. Both talk over the websocket `/v1/stream`.
"""

from rlco_datasets.contract import ContractMismatchError

from rlco_policy_server.client.asynchronous import AsyncPolicyClient
from rlco_policy_server.client.blocking import PolicyClient
from rlco_policy_server.client.errors import (
    PolicyServerError,
    ServerReplyError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from rlco_policy_server.wire.v1 import Reply

__all__ = [
    "AsyncPolicyClient",
    "ContractMismatchError",
    "PolicyClient",
    "PolicyServerError",
    "Reply",
    "ServerReplyError",
    "ServerTimeoutError",
    "ServerUnavailableError",
]
