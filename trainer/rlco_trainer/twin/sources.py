"""Demonstrations cut into legs that are each about one object, as seeds for new ones.

A recorded demonstration says where the hand was, not where the objects were. Replayed in the twin
from its own start it shows both; where the replay solves the task, it is cut at the task's
milestones, and each leg is kept relative to the object that it is about. The idea is MimicGen's
(Mandlekar et al., "MimicGen: A Data Generation System for Scalable Robot Learning using Human
Demonstrations", 2023, sec. 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.episode import Episode
from rlco_datasets.frames import inverse, pose_matrix, rotation_from_6d
from rlco_datasets.store import EpisodeStore

from rlco_trainer.twin.scene import TwinScene

Array = NDArray[np.float64]


class SourceError(ValueError):
    """No demonstration can seed new ones."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A way of `n` steps relative to an object: TCP targets `(n, 4, 4)` and openings `(n,)`."""

    T_object_target: Array
    gripper: Array


@dataclass(frozen=True, kw_only=True)
class Source:
    """A demonstration as legs, one for each segment of its task."""

    label: str
    """Store and episode it came from."""
    task: str
    legs: tuple[Leg, ...]


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What became of the demonstrations that were offered."""

    sources: tuple[Source, ...]
    without_start: int = 0
    """Recorded without an initial condition."""
    not_solved: int = 0
    """Replayed in the twin without solving the task."""

    def __str__(self) -> str:
        """Return it for people."""
        return (
            f"{len(self.sources)} source demonstrations; {self.not_solved} more did not solve the "
            f"task when replayed in the twin, {self.without_start} have no initial condition"
        )


def read_sources(stores: Sequence[EpisodeStore], scene: TwinScene) -> SourceReport:
    """Replay every successful demonstration of the scene's task and cut those that solve it.

    Args:
        stores: of the scene's contract.
        scene: the twin; needs no images.

    Raises:
        SourceError: if none is left, with the reasons.
    """
    sources: list[Source] = []
    without_start = not_solved = 0
    for label, episode in _demonstrations(stores, scene.task.name):
        if episode.metadata.initial_condition is None:
            without_start += 1
            continue
        legs = cut(scene, episode)
        if legs is None:
            not_solved += 1
            continue
        sources.append(Source(label=label, task=scene.task.name, legs=legs))
    report = SourceReport(
        sources=tuple(sources), without_start=without_start, not_solved=not_solved
    )
    if not sources:
        raise SourceError(
            f"no demonstration of {scene.task.name!r} can seed new ones: {report}. Record with "
            "initial conditions, and calibrate the twin until replays solve the task."
        )
    return report


def cut(scene: TwinScene, episode: Episode) -> tuple[Leg, ...] | None:
    """Replay a demonstration in the scene; return its legs, or None if it does not solve the task.

    The replay goes where the hand went, not where it was sent: the arm that was recorded may have
    lagged more than the twin's.
    """
    assert episode.metadata.initial_condition is not None
    targets, gripper = went(episode)
    segments = scene.task.segments()
    ends = [scene.task.milestones.index(segment.until) for segment in segments]
    scene.reset(episode.metadata.initial_condition)
    frames = [segments[0].frame(scene)]
    cuts = [0]
    for step, (target, opening) in enumerate(zip(targets, gripper, strict=True)):
        scene.step_to(target, opening)
        furthest = scene.status().milestone
        reached = -1 if furthest == "start" else scene.task.milestones.index(furthest)
        while len(cuts) < len(segments) and reached >= ends[len(cuts) - 1]:
            cuts.append(step + 1)
            frames.append(segments[len(cuts) - 1].frame(scene))
        if scene.status().success:
            break
    if not scene.status().success or len(cuts) < len(segments):
        return None
    bounds = [*cuts, step + 1]
    return tuple(
        Leg(
            T_object_target=inverse(frame) @ targets[first:last],
            gripper=gripper[first:last],
        )
        for frame, first, last in zip(frames, bounds[:-1], bounds[1:], strict=True)
    )


def went(episode: Episode) -> tuple[Array, Array]:
    """Return the pose `(T, 4, 4)` that each step led to and its gripper opening `(T,)`.

    A few periods at the last pose are added, so that what is to be held can be held.
    """
    poses = pose_matrix(episode.state[:, :3], rotation_from_6d(episode.state[:, 3:9]))
    rest = np.repeat(poses[-1:], 1 + HOLD_STEPS, axis=0)
    gripper = np.asarray(episode.actions[:, 6], float)
    return (
        np.concatenate([poses[1:], rest]),
        np.concatenate([gripper, np.repeat(gripper[-1:], HOLD_STEPS)]),
    )


HOLD_STEPS = 8


def _demonstrations(stores: Sequence[EpisodeStore], task: str) -> Iterator[tuple[str, Episode]]:
    for store in stores:
        for index in range(len(store)):
            about = store.metadata(index)
            if about.task == task and about.outcome == "success":
                yield f"{store.path.name}#{index}", store.episode(index)
