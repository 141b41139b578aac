"""One run of a policy: which observation is sent, which action is executed, when it must end."""

from __future__ import annotations

from collections import deque
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
DELAYS = 10
"""So many answers' delays are remembered; the longest is what the next one is expected to take."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Ahead:
    """What is executed while the policy is asked: it can continue that (real-time chunking).

    `actions` `(K, 7)` from the observation on, should no answer come; `delay_s` is how long an
    answer has been taking, from the observation's capture to its first command.
    """

    actions: Array
    delay_s: float


Ask = Callable[[Observed, int, Ahead], NDArray[np.floating]]
"""Asks the policy: the observation, its step number and what is ahead; `(horizon, 7)` out."""


class PolicyDriver:
    """Drives from step to step. Make a new one for every run.

    Without an `executor` the policy is asked while the bench waits (lock step). With one it is
    asked in the background by `ask_ahead`, `lead_steps` before the executed part of a chunk ends;
    where an answer comes too late the last target is held.
    """

    def __init__(
        self,
        contract: Contract,
        integrator: TargetIntegrator,
        ask: Ask,
        *,
        scheduler: ActionScheduler | None = None,
        executor: Executor | None = None,
        lead_steps: int = 0,
    ) -> None:
        """Take the contract, who knows the last target, and who asks the policy."""
        self._scheduler = scheduler or ActionScheduler(contract)
        self._integrator = integrator
        self._ask = ask
        self._executor = executor
        self._lead_steps = lead_steps
        self._asked: tuple[int, Future[NDArray[np.floating]]] | None = None
        self._asked_ns = -1
        self._recent: deque[int] = deque(maxlen=DELAYS)
        self.delays_ns: list[int] = []
        """Of every answer: from the observation's capture to the step that first used it."""
        self.steps = 0
        self.held = 0

    def asks_at(self, stamp_ns: int) -> bool:
        """Whether the observation of `stamp_ns` may be sent to the policy."""
        return self._executor is not None or self._scheduler.needs_chunk(stamp_ns)

    def step(self, observed: Observed, at_ns: int | None = None) -> Target:
        """Return the target from `at_ns` on; None: from the observation on (lock step).

        Raises:
            UnsafeActionError: if the action due is not fit to be executed.
            ChunkError: if the answer is not a chunk of the contract.
            Exception: whatever `ask` raises.
        """
        if self.steps == 0:
            self._integrator.start(observed.T_base_tcp, observed.width_m)
        stamp_ns = observed.stamp_ns if at_ns is None else at_ns
        if self._executor is None:
            if self._scheduler.needs_chunk(stamp_ns):
                answer = self._ask(observed, self.steps, self._ahead(observed))
                self._scheduler.accept(answer, observed.stamp_ns)
        else:
            self._take_answer(stamp_ns)
        self.steps += 1
        action = self._scheduler.action(stamp_ns)
        if action is None:
            self.held += 1
            return self._integrator.target
        return self._integrator.advance(action)

    def ask_ahead(self, observed: Observed, at_ns: int) -> None:
        """Ask in the background where it is time to; call it when the target of `at_ns` is sent.

        Encoding the images would otherwise delay that target by milliseconds.
        """
        due = self._scheduler.needs_chunk(at_ns, lead_steps=self._lead_steps)
        fresh = observed.stamp_ns > self._asked_ns
        if self._executor is not None and self._asked is None and due and fresh:
            ahead = self._ahead(observed)
            answer = self._executor.submit(self._ask, observed, self.steps - 1, ahead)
            self._asked_ns, self._asked = observed.stamp_ns, (observed.stamp_ns, answer)

    def _take_answer(self, at_ns: int) -> None:
        if self._asked is not None and self._asked[1].done():
            asked_ns, answer = self._asked
            self._asked = None
            self._scheduler.accept(answer.result(), asked_ns)
            self._recent.append(at_ns - asked_ns)
            self.delays_ns.append(at_ns - asked_ns)

    def _ahead(self, observed: Observed) -> Ahead:
        return Ahead(
            actions=self._scheduler.ahead(observed.stamp_ns),
            delay_s=max(self._recent, default=0) / 1e9,
        )
