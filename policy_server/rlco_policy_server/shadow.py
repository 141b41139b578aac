"""Shadow mode: a second policy answers the same observations, and only a log hears of it."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.engine import Engine
from rlco_policy_server.errors import RequestError
from rlco_policy_server.jobs import Answer
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.wire.v1 import InferRequest

logger = logging.getLogger(__name__)


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> dict[str, float]:
    """Return the largest per-action differences of two `(horizon, 7)` chunks.

    `translation_m`, `rotation_rad` (Euclidean norms) and `gripper` (opening fraction).
    """
    delta = ours - theirs
    return {
        "translation_m": float(np.linalg.norm(delta[:, :3], axis=1).max()),
        "rotation_rad": float(np.linalg.norm(delta[:, 3:6], axis=1).max()),
        "gripper": float(np.abs(delta[:, 6]).max()),
    }


class Shadow:
    """Asks the shadow policy what it would have done; it waits behind every real request."""

    def __init__(self, engine: Engine, served: ServedPolicy, log: Path | None) -> None:
        """Compare with `served`, which is warm; write a JSON line per comparison to `log`."""
        self._engine = engine
        self._served = served
        self._file = None if log is None else log.open("a", encoding="utf-8", buffering=1)

    def watch(self, request: InferRequest, answered: Answer, session: object) -> None:
        """Let the shadow answer `request` too; returns at once and never raises for it."""
        if request.contract_id != self._served.policy.contract.id or request.prefix is not None:
            self._engine.metrics.drop("shadow")
            return
        try:
            queued = self._engine.submit(self._served, request, session=session, shadow=True)
        except RequestError as error:
            logger.info("no shadow answer", extra={"fields": {"outcome": error.error}})
            return

        def compare(done: Future[Answer]) -> None:
            error = done.exception()
            if error is not None:
                self._write({"session": request.session, "step": request.step, "error": str(error)})
                return
            found = difference(done.result().actions, answered.actions)
            self._engine.metrics.shadow(found["translation_m"])
            self._write(
                {
                    "session": request.session,
                    "step": request.step,
                    "stamp_ns": request.stamp_ns,
                    "policy": self._served.alias,
                    "policy_id": self._served.policy_id,
                    "infer_ms": round(done.result().infer_ms, 3),
                    **{name: round(value, 6) for name, value in found.items()},
                }
            )

        queued.add_done_callback(compare)

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, row: dict[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
