"""One batch through one policy: observations in, checked chunks or refusals out. Pure."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import ACTION_DIM, Contract

from rlco_policy_server.errors import RequestError
from rlco_policy_server.observation import policy_inputs
from rlco_policy_server.policies import Policy, RealTimePolicy, ServedPolicy
from rlco_policy_server.wire.v1 import InferRequest

logger = logging.getLogger(__name__)
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """One request as its policy sees it, with a batch dimension of 1.

    `images`: camera -> `(1, H, W, 3) uint8`; `state`: `(1, S) float32`; `previous`: None, or
    `(1, P, 7) float32`, the actions under way, the first `delay_steps` of them unchangeable.
    """

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    instruction: str
    previous: NDArray[np.float32] | None = None
    delay_steps: int = 0

    @property
    def kind(self) -> tuple[int, int]:
        """What the inputs of one call share: how much is under way, and unchangeable."""
        return 0 if self.previous is None else self.previous.shape[1], self.delay_steps


def inputs_of(request: InferRequest, policy: Policy) -> Inputs:
    """Return what `policy` sees of `request`.

    Raises:
        RequestError: 422, naming what breaks the contract.
    """
    contract = policy.contract
    images, state = policy_inputs(request, contract)
    if request.prefix is None:
        return Inputs(images=images, state=state, instruction=request.instruction)
    if not isinstance(policy, RealTimePolicy):
        raise RequestError(
            422,
            "no_real_time_chunking",
            "The request carries 'prefix', but this policy cannot continue a chunk.",
            "Leave 'prefix' out, or serve a flow policy such as pi05.",
        )
    prefix, delay_steps = _checked_prefix(request, contract)
    return Inputs(
        images=images,
        state=state,
        instruction=request.instruction,
        previous=prefix[None] if len(prefix) else None,
        delay_steps=delay_steps,
    )


def _checked_prefix(request: InferRequest, contract: Contract) -> tuple[NDArray[np.float32], int]:
    prefix = np.asarray(request.prefix, np.float32)
    delay_s = request.delay_s or 0.0
    delay_steps = math.ceil(delay_s * contract.control_rate_hz - 1e-6) if delay_s >= 0 else -1
    shape_ok = prefix.ndim == 2 and prefix.shape[1:] == (ACTION_DIM,)
    if not shape_ok or not len(prefix) <= contract.horizon or not np.isfinite(prefix).all():
        raise RequestError(
            422,
            "wrong_prefix",
            f"prefix has shape {prefix.shape}, it must be finite and (0 to {contract.horizon}, "
            f"{ACTION_DIM}).",
            "Send the actions that are still to be executed, in the contract's units.",
        )
    if not 0 <= delay_steps <= len(prefix):
        raise RequestError(
            422,
            "wrong_prefix",
            f"delay_s {delay_s} is {delay_steps} control steps, prefix holds {len(prefix)}: the "
            "robot runs dry before the answer arrives.",
            "Ask earlier, or send delay_s between 0 and the time that prefix covers.",
        )
    return prefix, delay_steps


def infer_batch(
    served: ServedPolicy, inputs: list[Inputs], *, hide_reason: bool = False
) -> list[NDArray[np.float32] | RequestError]:
    """Return, for each of `inputs`, its `(horizon, 7) float32` chunk or why there is none.

    One call answers all of one kind. If it fails, each is tried alone, so that one bad observation
    costs no other session its action. `hide_reason` keeps the policy's own words out of refusals.
    """
    kinds = sorted({one.kind for one in inputs})
    if len(kinds) > 1:
        results: dict[int, NDArray[np.float32] | RequestError] = {}
        for kind in kinds:
            rows = [row for row, one in enumerate(inputs) if one.kind == kind]
            answers = infer_batch(served, [inputs[row] for row in rows], hide_reason=hide_reason)
            results |= dict(zip(rows, answers, strict=True))
        return [results[row] for row in range(len(inputs))]
    try:
        chunks = np.asarray(_call(served.policy, inputs), np.float32)
    except Exception as error:  # whatever a policy raises must not end the thread
        if len(inputs) > 1:
            return [infer_batch(served, [one], hide_reason=hide_reason)[0] for one in inputs]
        logger.exception("policy %r failed", served.alias)
        reason = f"raised {type(error).__name__}: {error}"
        if hide_reason:
            reason = "raised an error (blind mode: only the server's log says which)"
        return [_policy_error("policy_failed", reason)]
    expected = (len(inputs), served.policy.contract.horizon, ACTION_DIM)
    if chunks.shape != expected:
        reason = f"returned shape {chunks.shape}, not {expected}"
        return [_policy_error("wrong_action_shape", reason) for _ in inputs]
    return [
        chunk
        if np.isfinite(chunk).all()
        else _policy_error(
            "non_finite_action", "returned NaN or infinite actions, which were not sent"
        )
        for chunk in chunks
    ]


def _call(policy: Policy, inputs: list[Inputs]) -> NDArray[np.float32]:
    images = {
        name: _joined([one.images[name] for one in inputs]) for name in policy.contract.camera_names
    }
    state = _joined([one.state for one in inputs])
    instructions = [one.instruction for one in inputs]
    previous = [one.previous for one in inputs if one.previous is not None]
    if previous and isinstance(policy, RealTimePolicy):
        return policy.infer_rtc(
            images,
            state,
            instructions,
            previous=_joined(previous),
            delay_steps=inputs[0].delay_steps,
        )
    return policy.infer(images, state, instructions)


def _joined(arrays: list[NDArray[Scalar]]) -> NDArray[Scalar]:
    """Return the batch, in memory that may be written to: torch warns of any other."""
    if len(arrays) > 1:
        return np.concatenate(arrays)
    return arrays[0] if arrays[0].flags.writeable else arrays[0].copy()


def _policy_error(error: str, reason: str) -> RequestError:
    return RequestError(
        500,
        error,
        f"The policy {reason}.",
        "Check the checkpoint and the server's log; keep the robot stopped.",
    )


def empty_scene(contract: Contract) -> InferRequest:
    """Return the black observation that a policy is warmed up with."""
    return InferRequest(
        images={
            camera.name: np.zeros((camera.source_height, camera.source_width, 3), np.uint8)
            for camera in contract.cameras
        },
        state=np.zeros(contract.state_dim, np.float32),
        instruction="warm up",
        session="",
        step=0,
        stamp_ns=0,
        contract_id=contract.id,
    )
