"""Made-up episodes that every check of the store accepts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rlco_datasets.contract import Contract
from rlco_datasets.episode import Episode, EpisodeMetadata
from rlco_datasets.frames import apply_delta, pose_from_quaternion, state_vector
from rlco_datasets.initial_condition import InitialCondition, ObjectPose
from rlco_datasets.store import EpisodeStore


def make_metadata(contract: Contract, **changes: Any) -> EpisodeMetadata:
    """Return metadata of a successful real episode, with some fields changed."""
    condition = InitialCondition(
        name="start_0",
        task="pick_place",
        objects=(ObjectPose(name="cube", position_m=(0.5, 0.1, 0.02)),),
        tcp_position_m=(0.45, 0.0, 0.25),
    )
    metadata = EpisodeMetadata(
        source="real",
        task="pick_place",
        instruction="put the cube in the bowl",
        operator="ada",
        outcome="success",
        contract_id=contract.id,
        software_version="0.1.0",
        created_utc="2026-11-22T10:00:00+00:00",
        seed=7,
        initial_condition=condition,
        extra={"bench": "one"},
    )
    return replace(metadata, **changes)


def make_episode(
    contract: Contract,
    steps: int = 12,
    seed: int = 0,
    *,
    source: Literal["real", "sim"] = "real",
    extras: bool = True,
    **metadata: Any,
) -> Episode:
    """Return a random walk of the TCP, its images noise with a moving bright square.

    The state at step t is where action t - 1 led; the gripper closes half-way.
    """
    rng = np.random.default_rng(seed)
    actions = np.zeros((steps, 7), np.float32)
    actions[:, :3] = rng.uniform(-0.5, 0.5, (steps, 3)) * contract.max_translation_m
    actions[:, 3:6] = rng.uniform(-0.5, 0.5, (steps, 3)) * contract.max_rotation_rad
    actions[:, 6] = np.arange(steps) < (steps + 1) // 2
    T_base_tcp = pose_from_quaternion((0.45, 0.0, 0.25), (0.0, 1.0, 0.0, 0.0))
    states = []
    for action in actions:
        states.append(state_vector(T_base_tcp, action[6] * contract.gripper_max_width_m))
        T_base_tcp = apply_delta(T_base_tcp, action[:6])
    images = {}
    for camera in contract.cameras:
        frames = rng.integers(0, 200, (steps, camera.height, camera.width, 3), np.uint8)
        for step in range(steps):
            left = step % (camera.width - 4)
            frames[step, 2:6, left : left + 4] = 255
        images[camera.name] = frames
    stamps = 1_000_000_000 * (seed + 1) + np.arange(steps, dtype=np.int64) * contract.period_ns
    streams = {"step": stamps, "state": stamps - 1_000_000}
    streams |= {f"camera/{name}": stamps - 20_000_000 for name in contract.camera_names}
    return Episode(
        metadata=make_metadata(contract, source=source, **metadata),
        images=images,
        state=np.asarray(states, np.float32),
        actions=actions,
        stamps_ns=streams,
        extras={"operator_target": rng.normal(size=(steps, 6))} if extras else {},
    )


def make_store(
    path: Path,
    contract: Contract,
    lengths: tuple[int, ...] = (12, 9),
    *,
    seed: int = 0,
    source: Literal["real", "sim"] = "real",
    **metadata: Any,
) -> EpisodeStore:
    """Return a store, open for reading, of episodes with the given lengths."""
    with EpisodeStore.create(path, contract) as store:
        for index, steps in enumerate(lengths):
            store.append(make_episode(contract, steps, seed + index, source=source, **metadata))
    return EpisodeStore.open(path)
