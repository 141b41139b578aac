"""`python serve_blocking.py READY STARTED GO`: a server whose policy waits on two named pipes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import franka_compact
from rlco_policy_server.options import ServeOptions
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.process import exit_cleanly_on_signals, serve


class PipedPolicy:
    """After the warm-up, opens STARTED for writing and then waits until somebody writes to GO."""

    contract = franka_compact()

    def __init__(self, started: Path, go: Path) -> None:
        self._started, self._go = started, go

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Return zeros, when told to."""
        if instructions != ["warm up"]:
            self._started.write_text("started")
            self._go.read_text()
        return np.zeros((len(state), self.contract.horizon, 7), np.float32)


if __name__ == "__main__":
    ready, started, go = map(Path, sys.argv[1:])
    exit_cleanly_on_signals()
    policy = PipedPolicy(started, go)
    serve(
        [ServedPolicy(alias="default", policy=policy, policy_id="piped")],
        ServeOptions(port=0, ready_file=ready),
    )
