"""One run of a policy: which observation is sent, which action is executed, when it must end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import state_vector

from rlco.core.scheduler import ActionScheduler
from rlco.core.targets import Target, TargetIntegrator

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """One observation: policy images by camera, TCP pose `(4, 4)`, opening (m), capture stamp.

    Where the policy is not asked (`PolicyDriver.asks_at`) it may be without images.
    """

    stamp_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    T_base_tcp: Array
    width_m: float

    @property
    def state(self) -> NDArray[np.float32]:
        """The contract's state vector `(10,)`."""
        return state_vector(self.T_base_tcp, self.width_m)


Ask = Callable[[Observed, int], NDArray[np.floating]]
"""Asks the policy: the observation and its step number in; `(horizon, 7)` actions out."""


class PolicyDriver:
    """Drives from observation to observation. Make a new one for every run.

    Without an `executor` the policy is asked while the bench waits (lock step). With one it is
    asked in the background, `lead_steps` before the executed part of a chunk ends; where an answer
    comes too late the last target is held.
    """

    def __init__(
        self,
        contract: Contract,
        integrator: TargetIntegrator,
        ask: Ask,
        *,
        executor: Executor | None = None,
        lead_steps: int = 0,
    ) -> None:
        """Take the contract, who knows the last target, and who asks the policy."""
        self._scheduler = ActionScheduler(contract)
        self._integrator = integrator
        self._ask = ask
        self._executor = executor
        self._lead_steps = lead_steps
        self._asked: tuple[int, Future[NDArray[np.floating]]] | None = None
        self.steps = 0
        self.held = 0

    def asks_at(self, stamp_ns: int) -> bool:
        """Whether the observation of `stamp_ns` may be sent to the policy."""
        return self._executor is not None or self._scheduler.needs_chunk(stamp_ns)

    def step(self, observed: Observed) -> Target:
        """Return the target from this observation on.

        Raises:
            UnsafeActionError: if the action due is not fit to be executed.
            ChunkError: if the answer is not a chunk of the contract.
            Exception: whatever `ask` raises.
        """
        if self.steps == 0:
            self._integrator.start(observed.T_base_tcp, observed.width_m)
        stamp_ns = observed.stamp_ns
        if self._executor is None:
            if self._scheduler.needs_chunk(stamp_ns):
                self._scheduler.accept(self._ask(observed, self.steps), stamp_ns)
        else:
            self._ask_in_background(observed, self._executor)
        self.steps += 1
        action = self._scheduler.action(stamp_ns)
        if action is None:
            self.held += 1
            return self._integrator.target
        return self._integrator.advance(action)

    def _ask_in_background(self, observed: Observed, executor: Executor) -> None:
        if self._asked is not None and self._asked[1].done():
            asked_ns, answer = self._asked
            self._asked = None
            self._scheduler.accept(answer.result(), asked_ns)
        due = self._scheduler.needs_chunk(observed.stamp_ns, lead_steps=self._lead_steps)
        if self._asked is None and due:
            answer = executor.submit(self._ask, observed, self.steps)
            self._asked = (observed.stamp_ns, answer)
