"""Record mode: what was asked and answered, as episodes of an `EpisodeStore`.

A session is an episode; it ends when the client resets it, changes the instruction or the policy,
falls silent, or reaches `MAX_STEPS`. A step holds the observation as the policy saw it and, as
action, the first of the chunk that was sent, within the contract's limits. The chunk as a whole,
the client's stamps and the timing are the extras. The server cannot know how an episode ended:
its outcome is `failure`, flagged `outcome_unknown`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.episode import STEP_STREAM, Episode, EpisodeError, EpisodeMetadata
from rlco_datasets.store import EpisodeStore, StoreError

from rlco_policy_server.jobs import Answer
from rlco_policy_server.metrics import Metrics
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.sessions import SessionKey
from rlco_policy_server.version import software_version
from rlco_policy_server.wire.v1 import InferRequest

logger = logging.getLogger(__name__)

MAX_STEPS = 300
"""Steps of one episode, which are held in memory until it ends."""
MAX_HELD = 1000
"""Steps held in memory for all sessions together."""
MAX_WAITING = 256
"""Steps that wait for the disk; more are dropped, and counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    request: InferRequest
    answer: Answer
    sent: NDArray[np.float32]
    stamp_ns: int
    contract: Contract
    policy_id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Open:
    """An episode that is still growing; its steps share contract, policy and instruction."""

    key: SessionKey
    steps: list[_Step] = field(default_factory=list)

    def continues(self, step: _Step) -> bool:
        """Whether `step` belongs to this episode."""
        last = self.steps[-1]
        return len(self.steps) < MAX_STEPS and (
            (last.contract.id, last.policy_id, last.request.instruction)
            == (step.contract.id, step.policy_id, step.request.instruction)
        )


class Recorder:
    """Writes episodes below one folder, one store per contract, on a thread of its own."""

    def __init__(
        self,
        folder: Path,
        metrics: Metrics,
        *,
        source: Literal["real", "sim"] = "real",
        idle_s: float = 30.0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Record into `folder`; stores that are there already are added to."""
        self._folder = folder
        self._metrics = metrics
        self._source: Literal["real", "sim"] = source
        self._idle_ns = round(idle_s * 1e9)
        self._clock_ns = clock_ns
        self._inbox: Queue[tuple[SessionKey, _Step | None] | None] = Queue(MAX_WAITING)
        self._open: dict[SessionKey, _Open] = {}
        self._stores: dict[str, EpisodeStore] = {}
        self._thread = threading.Thread(target=self._run, name="rlco-recorder", daemon=True)
        self._thread.start()

    def add(
        self,
        key: SessionKey,
        request: InferRequest,
        answer: Answer,
        sent: NDArray[np.float32],
        served: ServedPolicy,
        policy_id: str,
    ) -> None:
        """Keep one answered request; returns at once, and drops it if the disk cannot follow."""
        step = _Step(
            request=replace(request, images={}),  # the policy images are kept, not the frames
            answer=answer,
            sent=sent,
            stamp_ns=self._clock_ns(),
            contract=served.policy.contract,
            policy_id=policy_id,
        )
        self._put(key, step)

    def end(self, key: SessionKey) -> None:
        """End a session's episode."""
        self._put(key, None)

    def close(self) -> None:
        """Write what is open, and stop."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join()

    def _put(self, key: SessionKey, step: _Step | None) -> None:
        try:
            self._inbox.put_nowait((key, step))
        except Full:
            self._metrics.drop("record")

    def _run(self) -> None:
        while True:
            try:
                item = self._inbox.get(timeout=1.0)
            except Empty:
                self._write_idle()
                continue
            if item is None:
                break
            key, step = item
            if step is None:
                self._write(key)
            else:
                self._take(key, step)
        for key in list(self._open):
            self._write(key)
        for store in self._stores.values():
            store.close()

    def _take(self, key: SessionKey, step: _Step) -> None:
        if key in self._open and not self._open[key].continues(step):
            self._write(key)
        self._open.setdefault(key, _Open(key=key)).steps.append(step)
        if sum(len(other.steps) for other in self._open.values()) >= MAX_HELD:
            self._write(max(self._open, key=lambda k: len(self._open[k].steps)))

    def _write_idle(self) -> None:
        now_ns = self._clock_ns()
        for key, episode in list(self._open.items()):
            if now_ns - episode.steps[-1].stamp_ns > self._idle_ns:
                self._write(key)

    def _write(self, key: SessionKey) -> None:
        episode = self._open.pop(key, None)
        if episode is None:
            return
        try:
            self._store(episode.steps[0].contract).append(_as_episode(episode, self._source))
        except (StoreError, EpisodeError, ValueError):
            self._metrics.drop("record")
            logger.exception("an episode of session %r was not recorded", key[1])

    def _store(self, contract: Contract) -> EpisodeStore:
        store = self._stores.get(contract.id)
        if store is None:
            path = self._folder / f"{contract.name}-{contract.id[:8]}"
            if (path / ".zattrs").exists():
                store = EpisodeStore.open(path, "a", contract)
            else:
                store = EpisodeStore.create(path, contract)
            self._stores[contract.id] = store
        return store


def within_limits(action: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """Return a `(7,)` action whose deltas are shortened, and opening clipped, to the contract's."""
    result = action.astype(np.float64)
    for part, limit in (
        (slice(0, 3), contract.max_translation_m),
        (slice(3, 6), contract.max_rotation_rad),
    ):
        result[part] *= min(1.0, limit / max(float(np.linalg.norm(result[part])), limit))
    result[6] = np.clip(result[6], 0.0, 1.0)
    return np.asarray(result, np.float32)


def _as_episode(episode: _Open, source: Literal["real", "sim"]) -> Episode:
    steps, (caller, session) = episode.steps, episode.key
    contract = steps[0].contract
    stamps = np.array([step.stamp_ns for step in steps], np.int64)
    # Two answers of one nanosecond, or a clock that was set back, must not lose the episode.
    increasing = np.maximum.accumulate(stamps - np.arange(len(stamps))) + np.arange(len(stamps))
    return Episode(
        metadata=EpisodeMetadata(
            source=source,
            task="served",
            instruction=steps[0].request.instruction.strip() or "(none)",
            operator=caller,
            outcome="failure",
            contract_id=contract.id,
            software_version=software_version(),
            created_utc=datetime.now(UTC).isoformat(),
            flags=("served", "outcome_unknown"),
            extra={"session": session, "policy_id": steps[0].policy_id},
        ),
        images={
            name: np.stack([step.answer.images[name] for step in steps])
            for name in contract.camera_names
        },
        state=np.stack([step.answer.state for step in steps]),
        actions=np.stack([within_limits(step.sent[0], contract) for step in steps]),
        stamps_ns={STEP_STREAM: increasing},
        extras={
            "chunk": np.stack([step.sent for step in steps]),
            "client_stamp_ns": np.array([step.request.stamp_ns for step in steps], np.int64),
            "client_step": np.array([step.request.step for step in steps], np.int64),
            "queue_ms": np.array([step.answer.queue_ms for step in steps], np.float32),
            "infer_ms": np.array([step.answer.infer_ms for step in steps], np.float32),
        },
    )
