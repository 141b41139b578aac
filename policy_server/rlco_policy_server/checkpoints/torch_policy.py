"""A trainer's policy as the server calls it: on its device, in its precision, perhaps compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_trainer.policies.interface import Observation, Policy, require_observation
from rlco_trainer.precision import Precision, autocast
from torch import Tensor

Images = Mapping[str, NDArray[np.uint8]]
Floats = NDArray[np.float32]
Compile = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


@runtime_checkable
class _Continues(Protocol):
    def infer_rtc(
        self,
        images: Images,
        state: Floats,
        instructions: Sequence[str],
        *,
        previous: Floats,
        delay_steps: int,
    ) -> Floats:
        """See `rlco_policy_server.policies.RealTimePolicy`."""


class TorchPolicy:
    """Answers batches with a policy's best actions.

    A compiled policy sees only batches of 1, 2, 4, ... up to `max_batch`, padded with copies: each
    size is compiled once, all of them at the first call, in the thread that will use them (CUDA
    graphs belong to a thread).
    """

    def __init__(
        self,
        policy: Policy,
        *,
        precision: Precision = "fp32",
        max_batch: int = 1,
        compile_with: Compile | None = None,
    ) -> None:
        """Answer with `policy`, which is on its device already."""
        self._policy = policy
        self._precision = precision
        self._device = next(policy.parameters()).device
        self._decide: Callable[..., Tensor] = policy.best_actions
        self._sizes: tuple[int, ...] = ()
        if compile_with is not None:
            self._decide = compile_with(policy.best_actions)
            self._sizes = (*(2**i for i in range(20) if 2**i < max_batch), max_batch)
        self._warm = compile_with is None

    @property
    def contract(self) -> Contract:
        """What its observations and actions mean."""
        return self._policy.contract

    @property
    def uses_state(self) -> bool:
        """Whether the robot's state changes the answer."""
        return self._policy.uses_state

    def infer(self, images: Images, state: Floats, instructions: Sequence[str]) -> Floats:
        """Return `(B, horizon, 7) float32` chunks, contract units."""
        require_observation(self.contract, images, state, instructions)
        if not self._warm:
            self._warm = True
            for size in self._sizes:
                self._run({k: v[:1] for k, v in images.items()}, state[:1], instructions[:1], size)
        B = len(instructions)
        size = next((size for size in self._sizes if size >= B), B)
        return self._run(images, state, instructions, size)[:B]

    @torch.no_grad()
    def _run(self, images: Images, state: Floats, instructions: Sequence[str], size: int) -> Floats:
        missing = size - len(instructions)
        if missing:
            images = {name: _grown(image, missing) for name, image in images.items()}
            state = _grown(state, missing)
            instructions = [*instructions, *[instructions[-1]] * missing]
        observation = Observation.from_numpy(images, state, instructions).to(self._device)
        with autocast(str(self._device), self._precision):
            chunk = self._decide(self._policy.encode(observation))
        return np.asarray(chunk.float().cpu().numpy(), np.float32)


class ContinuingTorchPolicy(TorchPolicy):
    """A `TorchPolicy` whose family can continue a running chunk (real-time chunking)."""

    def infer_rtc(
        self,
        images: Images,
        state: Floats,
        instructions: Sequence[str],
        *,
        previous: Floats,
        delay_steps: int,
    ) -> Floats:
        """Return `(B, horizon, 7)` chunks that agree with `previous` `(B, P, 7)`."""
        assert isinstance(self._policy, _Continues)
        with autocast(str(self._device), self._precision):
            return self._policy.infer_rtc(
                images, state, instructions, previous=previous, delay_steps=delay_steps
            )


def torch_policy(
    policy: Policy, *, precision: Precision, compiled: bool, max_batch: int
) -> TorchPolicy:
    """Return `policy` as the server calls it."""
    compile_with: Compile | None = None
    if compiled:
        on_gpu = next(policy.parameters()).device.type == "cuda"
        mode = "reduce-overhead" if on_gpu else "default"

        def compile_with(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
            made: Callable[..., Tensor] = torch.compile(function, mode=mode, dynamic=False)
            return made

    kind = ContinuingTorchPolicy if isinstance(policy, _Continues) else TorchPolicy
    return kind(policy, precision=precision, max_batch=max_batch, compile_with=compile_with)


def _grown(array: NDArray[Any], rows: int) -> NDArray[Any]:
    return np.concatenate([array, np.repeat(array[-1:], rows, axis=0)])
