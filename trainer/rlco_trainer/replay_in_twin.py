"""Replays recorded commands in twins, for system identification and the check of a twin.

`rlco-calibrate` finds this through the entry point group `rlco.simulators`, so that calibration
does not import the trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.initial_states import sample
from rlco_calibration.recording import Recording, Track
from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract

from rlco_trainer.twin.scene import PHYSICS_RATE_HZ, TwinScene

Array = NDArray[np.float64]
Job = tuple[Twin, Recording]

SETTLE_PERIODS = 10


def replay(contract: Contract, twin: Twin, recording: Recording) -> Track:
    """Return what a twin does with the commands of a recording.

    Raises:
        ValueError: if the twin cannot be put into the recording's start.
    """
    scene = TwinScene(twin, contract, recording.initial.task, images="none")
    scene.reset(recording.initial)
    poses, objects = [], []
    for target, width_m in zip(recording.targets, recording.widths_m, strict=True):
        opening = float(np.clip(width_m / contract.gripper_max_width_m, 0.0, 1.0))
        scene.step_to(target, opening)
        poses.append(scene.T_base_tcp)
        objects.append(scene.object_poses())
    return Track(
        T_base_tcp=np.stack(poses),
        objects={name: np.stack([seen[name] for seen in objects]) for name in sorted(objects[0])},
    )


class TwinSimulator:
    """A `rlco_calibration.recording.Simulator` in this process."""

    def __init__(self, contract: Contract) -> None:
        """Take the contract of the twins and recordings."""
        self._contract = contract

    @property
    def substep_s(self) -> float:
        """The grid of delays that the simulation tells apart."""
        return self._contract.period_s / max(1, round(self._contract.period_s * PHYSICS_RATE_HZ))

    def __call__(self, jobs: Sequence[Job]) -> list[Track]:
        """Replay every job."""
        return [replay(self._contract, twin, recording) for twin, recording in jobs]

    def picture(self, twin: Twin, camera: str, T_base_tcp: Array) -> NDArray[np.uint8]:
        """Return a camera's full frame of the twin, the tool at a pose."""
        task = twin.tasks[0].name
        initial = sample(twin, task, np.random.default_rng(0), "picture")
        scene = TwinScene(twin, self._contract, task, images="source")
        x, y, z = T_base_tcp[:3, 3].tolist()
        scene.reset(replace(initial, tcp_position_m=(x, y, z)))
        for _ in range(SETTLE_PERIODS):
            scene.step_to(T_base_tcp, 1.0)
        return scene.source_frame(camera)
