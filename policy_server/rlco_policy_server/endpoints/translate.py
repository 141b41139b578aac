"""From a foreign client's fields to the gateway and back, by a key map."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import Contract

from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.keymaps import KeyMap, KeyMapError
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.wire.metadata import describe_actions, describe_state
from rlco_policy_server.wire.v1 import InferRequest, Reply


@dataclass(frozen=True, kw_only=True, eq=False)
class Caller:
    """Who asks, and how.

    `endpoint` is the protocol, `policy` an alias or None, `session` may be empty, `step` counts the
    requests of a connection. `needs_state`: the endpoint itself needs the robot's state.
    """

    endpoint: str
    policy: str | None
    session: str
    step: int
    arrived_s: float
    needs_state: bool = False
    gone: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Translated:
    """A reply, with `actions` `(horizon, 7) float32` in the client's convention.

    `state` is the contract's, `(S,) float32`, as the client's numbers were understood.
    """

    reply: Reply
    actions: NDArray[np.float32]
    state: NDArray[np.float32]
    contract: Contract


def uses_state(served: ServedPolicy) -> bool:
    """Whether a policy looks at the robot's state; one that does not may say so."""
    return bool(getattr(served.policy, "uses_state", True))


async def infer(
    gateway: Gateway, keymap: KeyMap, fields: Mapping[str, Any], caller: Caller
) -> Translated:
    """Return the chunk for a client's fields.

    The capture stamp is the moment of arrival, because these protocols carry none.

    Raises:
        RequestError: 422 if the fields do not fit the contract by this map, or as the gateway does.
    """
    served = gateway.policy(caller.policy, caller.session)
    contract = served.policy.contract
    stateful = uses_state(served) or caller.needs_state
    try:
        observation = keymap.read(fields, contract, uses_state=stateful)
    except KeyMapError as error:
        raise keymap_error(error, keymap, contract, stateful) from error
    reply = await gateway.infer(
        InferRequest(
            images=observation.images,
            state=observation.state,
            instruction=observation.instruction,
            session=observation.session or caller.session,
            step=caller.step,
            stamp_ns=time.time_ns(),
            contract_id=observation.contract_id or contract.id,
            policy=caller.policy,
        ),
        endpoint=caller.endpoint,
        gone=caller.gone,
        arrived_s=caller.arrived_s,
    )
    return Translated(
        reply=reply,
        actions=keymap.actions.from_contract(reply.actions),
        state=observation.state,
        contract=contract,
    )


def keymap_error(
    error: KeyMapError, keymap: KeyMap, contract: Contract, stateful: bool
) -> RequestError:
    """Return the refusal that names what differs and says what to send."""
    wanted = "; ".join(
        f"{key}: {what}" for key, what in keymap.required(contract, uses_state=stateful).items()
    )
    return RequestError(
        422,
        "keymap_mismatch",
        f"{error}.",
        f"Send {wanted}; or choose another key map (--keymap), or serve a policy of another "
        "contract.",
    )


def describe(gateway: Gateway, keymap: KeyMap, policy: str | None) -> dict[str, Any]:
    """Return what a client of `keymap` should know about a policy, as plain values.

    Raises:
        RequestError: 404, if there is no such policy.
    """
    served = gateway.policy(policy)
    contract, stateful = served.policy.contract, uses_state(served)
    known = next(p for p in gateway.metadata().policies if p.alias == served.alias)
    return {
        "policy": known.alias,
        "policy_id": known.policy_id,
        "normalisation_id": known.normalisation_id,
        "contract_id": contract.id,
        "contract": spec.to_plain(contract),
        "horizon": contract.horizon,
        "executed_steps": contract.executed_steps,
        "control_rate_hz": contract.control_rate_hz,
        "action": describe_actions(contract),
        "state": describe_state(contract),
        "keymap": spec.to_plain(keymap),
        "send": keymap.required(contract, uses_state=stateful),
        "problems": keymap.problems(contract, uses_state=stateful),
    }
