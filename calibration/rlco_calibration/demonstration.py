"""Recorded demonstrations as commands and what they led to, to be replayed in a twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.episode import Episode
from rlco_datasets.frames import apply_delta, pose_from_quaternion, pose_matrix, rotation_from_6d
from rlco_datasets.store import EpisodeStore

from rlco_calibration.recording import Recording, Track

Array = NDArray[np.float64]

EXECUTED = "executed_target"
"""Extra `(T, 7)` (m, quaternion w x y z): what was executed, where that is not the action."""
OBJECT = "object_"
"""Prefix of extras `(T, 7)` (m, quaternion w x y z): poses of tracked objects at each step."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A demonstration of `N + 1` steps: commands 0 to N - 1 and the states that they led to.

    `recording.track` has the measured poses after each command, `widths_m` `(N,)` the measured
    opening after it; `recording.targets` and `recording.widths_m` are the commands.
    """

    name: str
    recording: Recording
    widths_m: Array
    succeeded: bool

    @property
    def task(self) -> str:
        """The task that was demonstrated."""
        return self.recording.initial.task


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a twin did with a demonstration's commands: track, openings `(N,)`, and the outcome."""

    track: Track
    widths_m: Array
    succeeded: bool


def read(store: EpisodeStore, *, most: int) -> Iterator[Demonstration]:
    """Yield up to `most` demonstrations of each task, spread over the store.

    Episodes without an initial condition are left out: nobody knows where their objects were.
    """
    by_task: dict[str, list[int]] = {}
    for index in range(len(store)):
        about = store.metadata(index)
        if about.initial_condition is not None and store.lengths[index] > 1:
            by_task.setdefault(about.task, []).append(index)
    for indices in by_task.values():
        chosen = np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).round())
        for place in chosen.astype(int):
            index = indices[place]
            name = f"{store.path.name} episode {index}"
            yield of_episode(store.episode(index), store.contract, name)


def of_episode(episode: Episode, contract: Contract, name: str) -> Demonstration:
    """Return an episode's commands and states; the start is its first frame.

    Raises:
        ValueError: if the episode has no initial condition.
    """
    condition = episode.metadata.initial_condition
    if condition is None:
        raise ValueError(f"{name} has no initial condition: it cannot be laid out in a twin")
    poses = pose_matrix(episode.state[:, :3], rotation_from_6d(episode.state[:, 3:9]))
    x, y, z = (float(value) for value in poses[0, :3, 3])
    openings = np.asarray(episode.actions[:, 6], float)
    recording = Recording(
        initial=replace(condition, tcp_position_m=(x, y, z)),
        targets=commanded(episode, poses[0])[:-1],
        widths_m=openings[:-1] * contract.gripper_max_width_m,
        track=Track(
            T_base_tcp=poses[1:],
            objects={
                key.removeprefix(OBJECT): _poses(values)[1:]
                for key, values in sorted(episode.extras.items())
                if key.startswith(OBJECT)
            },
        ),
    )
    return Demonstration(
        name=name,
        recording=recording,
        widths_m=np.asarray(episode.state[1:, 9], float),
        succeeded=episode.metadata.outcome == "success",
    )


def commanded(episode: Episode, T_base_start: Array) -> Array:
    """Return the commanded targets `(T, 4, 4)`, base frame.

    What was executed where the store has it (operators whose noise is not part of the action);
    else the actions, each relative to the target before it.
    """
    if EXECUTED in episode.extras:
        return _poses(episode.extras[EXECUTED])
    target, targets = T_base_start, []
    for action in episode.actions:
        target = apply_delta(target, action[:6])
        targets.append(target)
    return np.stack(targets)


def _poses(values: NDArray[np.floating]) -> Array:
    unit = values[:, 3:] / np.linalg.norm(values[:, 3:], axis=1, keepdims=True)
    return np.stack(
        [
            pose_from_quaternion(position, quaternion)
            for position, quaternion in zip(values[:, :3], unit, strict=True)
        ]
    )
