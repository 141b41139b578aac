"""Replays recorded commands in twins, for system identification and the check of a twin.

`rlco-calibrate` finds this through the entry point group `rlco.simulators`, so that calibration
does not import the trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.demonstration import Replayed
from rlco_calibration.initial_states import sample
from rlco_calibration.outline import ARM, MOVABLE, SURROUNDINGS
from rlco_calibration.recording import Recording, Track
from rlco_calibration.simulators import ARM_NAME, Look, View
from rlco_calibration.twin import Twin
from rlco_datasets.closing import Closing
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import InitialCondition

from rlco_trainer.twin.batch import TwinBatch
from rlco_trainer.twin.scene import PHYSICS_RATE_HZ, TwinScene
from rlco_trainer.twin.workers import WorkerPool

Array = NDArray[np.float64]
Job = tuple[Twin, Recording]

SETTLE_PERIODS = 10
ARM_LINKS = "panda_"


def replay(scene: TwinScene, recording: Recording) -> tuple[Track, Array]:
    """Return what a scene does with the commands of a recording: track, openings `(N,)` m.

    Raises:
        ValueError: if the scene cannot be put into the recording's start.
    """
    scene.reset(recording.initial)
    poses, objects, widths_m = [], [], []
    for target, width_m in zip(recording.targets, recording.widths_m, strict=True):
        scene.step_to(target, _opening(scene, width_m))
        poses.append(scene.T_base_tcp)
        objects.append(scene.object_poses())
        widths_m.append(scene.gripper_width_m)
    track = Track(
        T_base_tcp=np.stack(poses),
        objects={name: np.stack([seen[name] for seen in objects]) for name in sorted(objects[0])},
    )
    return track, np.array(widths_m)


def _opening(scene: TwinScene, width_m: float) -> float:
    return float(np.clip(width_m / scene.contract.gripper_max_width_m, 0.0, 1.0))


def _silent_scene(contract: Contract, twin: Twin, task: str) -> TwinScene:
    return TwinScene(twin, contract, task, images="none")


def _replayed(contract: Contract, twin: Twin, recording: Recording) -> Track:
    return replay(_silent_scene(contract, twin, recording.initial.task), recording)[0]


def _replay_there(batch: TwinBatch, twin: Twin, recording: Recording) -> Track:
    """Replay one recording in a worker, in a scene of its own."""
    return _replayed(batch.contract, twin, recording)


class TwinSimulator(Closing):
    """A `rlco_calibration.recording.Simulator`, in this process or in rollout workers."""

    def __init__(self, contract: Contract, *, workers: int = 1) -> None:
        """Take the contract of the twins and recordings.

        With several `workers`, motions are replayed in as many processes, which start with the
        first replays and end with `close`; the answers are the same.

        Raises:
            ValueError: if `workers` is not positive.
        """
        if workers < 1:
            raise ValueError(f"workers must be positive, got {workers}")
        self._contract, self._workers = contract, workers
        self._pool: WorkerPool | None = None
        self._shown: TwinScene | None = None
        self._seen: TwinScene | None = None

    @property
    def substep_s(self) -> float:
        """The grid of delays that the simulation tells apart."""
        return self._contract.period_s / max(1, round(self._contract.period_s * PHYSICS_RATE_HZ))

    def __call__(self, jobs: Sequence[Job]) -> list[Track]:
        """Replay every job, several at once where there are workers."""
        if self._workers == 1 or len(jobs) == 1:
            return [_replayed(self._contract, twin, recording) for twin, recording in jobs]
        if self._pool is None:
            twin, recording = jobs[0]
            self._pool = WorkerPool(
                twin,
                self._contract,
                recording.initial.task,
                workers=self._workers,
                scenes=1,
                images="none",
            )
        return list(self._pool.imap(_replay_there, jobs))

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _scene(self, twin: Twin, task: str) -> TwinScene:
        return _silent_scene(self._contract, twin, task)

    def demonstrate(self, twin: Twin, demonstration: Recording) -> Replayed:
        """Return what the twin does with a demonstration's commands; see the protocol."""
        scene = self._scene(twin, demonstration.initial.task)
        track, widths_m = replay(scene, demonstration)
        succeeded = scene.status().success
        for _ in range(SETTLE_PERIODS):
            opening = _opening(scene, float(demonstration.widths_m[-1]))
            scene.step_to(demonstration.targets[-1], opening)
            succeeded = succeeded or scene.status().success
        return Replayed(track=track, widths_m=widths_m, succeeded=succeeded)

    def look(self, twin: Twin, camera: str, start: InitialCondition) -> Look:
        """Return what a camera of the twin sees with everything at a start, without noise."""
        clean = replace(twin, cameras=tuple(replace(c, noise_std=0.0) for c in twin.cameras))
        # Kept until the next is there: with the last renderer, its compiled shaders would go too.
        scene = self._seen = TwinScene(clean, self._contract, start.task, images="source")
        scene.reset(start)
        frame = scene.source_frame(camera)
        masks = {ARM_NAME: np.zeros(frame.shape[:2], bool)}
        for name, mask in scene.source_entities(camera).items():
            if name.startswith(ARM_LINKS):
                masks[ARM_NAME] |= mask
            else:
                masks[name] = mask
        return Look(frame=frame, masks=masks)

    def view(self, twin: Twin, camera: str, T_base_tcp: Array) -> View:
        """Return a camera's full frame of the twin, the tool at a pose, and what is where in it."""
        task = twin.tasks[0].name
        if self._shown is None or self._shown.twin.id != twin.id:
            self._shown = TwinScene(twin, self._contract, task, images="source")
        scene = self._shown
        initial = sample(twin, task, np.random.default_rng(0), "picture")
        x, y, z = T_base_tcp[:3, 3].tolist()
        scene.reset(replace(initial, tcp_position_m=(x, y, z)))
        for _ in range(SETTLE_PERIODS):
            scene.step_to(T_base_tcp, 1.0)
        frame = scene.source_frame(camera)
        labels = np.full(frame.shape[:2], SURROUNDINGS, np.uint8)
        for name, mask in scene.source_entities(camera).items():
            labels[mask] = ARM if name.startswith(ARM_LINKS) else MOVABLE
        return View(frame=frame, labels=labels)
