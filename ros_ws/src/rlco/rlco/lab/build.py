"""Builds the bench of a simulated lab from its files."""

from __future__ import annotations

import numpy as np
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract

from rlco.lab.bench import SimulatedBench
from rlco.lab.hidden import load_hidden_twin


def build_bench(
    twin_path: str, contract: Contract, task: str, *, seed: int, start_ns: int
) -> tuple[Twin, SimulatedBench]:
    """Return the lab's twin and its bench, in an arbitrary start state of the task.

    Raises:
        ValueError: if the twin is malformed, of another contract, or has no such task.
    """
    from rlco_trainer.twin.scene import TwinScene

    twin = load_hidden_twin(twin_path)
    twin.task(task)
    scene = TwinScene(twin, contract, task, images="source", seed=seed)
    scene.reset(sample(twin, task, np.random.default_rng(seed), "start"))
    for camera in contract.camera_names:
        scene.source_frame(camera)  # the first frame of a process takes longer
    return twin, SimulatedBench(scene, contract, start_ns=start_ns)
