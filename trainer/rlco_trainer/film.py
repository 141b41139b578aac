"""Videos of a policy at work in the twin: what it sees, and how each episode ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_trainer.episodes import EpisodeRequest, PolicyPackage
from rlco_trainer.evaluate import BatchPool, Job
from rlco_trainer.rollout import SceneBatch

LEAST_HEIGHT_PX = 256
CAPTION_PX = 20
SUCCESS_BGR, FAILURE_BGR = (80, 160, 60), (60, 60, 200)


class FilmError(OSError):
    """A video could not be written."""


@dataclass(frozen=True, kw_only=True)
class Filmed:
    """One episode: `frames (T, H, W, 3) uint8 RGB`, cameras side by side, one a control step."""

    condition: str
    success: bool
    milestone: str
    frames: NDArray[np.uint8]


def film_episodes(batch: SceneBatch, request: EpisodeRequest) -> list[Filmed]:
    """Run each condition in the first scene of its task's batch, taking a picture every step."""
    policy, scenes = request.policy.unpack(), batch.for_task(request.task)
    films = []
    for condition in request.conditions:
        scenes.reset([0], [condition])
        frames, success, steps = [], False, 0
        chunk = np.zeros((0, 7), np.float32)
        while not success and steps < request.max_steps:
            seen = scenes.observe([0])
            frames.append(np.concatenate([image[0] for image in seen.images.values()], axis=1))
            if steps % policy.contract.executed_steps == 0:
                chunk = policy.infer(seen.images, seen.state, [request.instruction])[0]
            scenes.step([0], chunk[None, steps % policy.contract.executed_steps])
            success = bool(scenes.success([0])[0])
            steps += 1
        seen = scenes.observe([0])
        frames.append(np.concatenate([image[0] for image in seen.images.values()], axis=1))
        films.append(
            Filmed(
                condition=condition.name,
                success=success,
                milestone=scenes.status([0])[0].milestone,
                frames=np.stack(frames),
            )
        )
    return films


def write_film(path: Path, film: Filmed, rate_hz: float) -> None:
    """Write an MP4 (MPEG-4), enlarged, with a caption that says how the episode ended.

    Raises:
        FilmError: if the file cannot be written.
    """
    T, H, W, _ = film.frames.shape
    scale = max(1, -(-LEAST_HEIGHT_PX // H))
    size = (W * scale, H * scale + CAPTION_PX)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, size)
    if not writer.isOpened():
        raise FilmError(f"{path}: no video could be opened there. Is the folder writable?")
    colour = SUCCESS_BGR if film.success else FAILURE_BGR
    text = "success" if film.success else f"failure: {film.milestone or 'nothing reached'}"
    for number, frame in enumerate(film.frames):
        page = np.full((size[1], size[0], 3), 255, np.uint8)
        page[: H * scale] = cv2.resize(
            frame[..., ::-1], (W * scale, H * scale), interpolation=cv2.INTER_NEAREST
        )
        caption = text if number == T - 1 else f"{number / rate_hz:.1f} s"
        where = (6, size[1] - 6)
        cv2.putText(page, caption, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
        writer.write(page)
    writer.release()
    if not path.is_file() or path.stat().st_size == 0:
        raise FilmError(f"{path}: the video is empty. Is the disk full?")


def film(
    pool: BatchPool, package: PolicyPackage, jobs: Sequence[Job], out: Path, *, max_steps: int
) -> list[Path]:
    """Film every condition of every job on the workers; return the videos' paths below `out`."""
    requests = [
        EpisodeRequest(
            policy=package,
            task=job.task,
            conditions=(condition,),
            instruction=job.instruction,
            max_steps=max_steps,
            explore=False,
        )
        for job in jobs
        for condition in job.conditions
    ]
    paths = []
    for first in range(0, len(requests), len(pool)):
        part = requests[first : first + len(pool)]
        answers = pool.map(film_episodes, [(request,) for request in part])
        for request, films in zip(part, answers, strict=True):
            for item in films:
                paths.append(out / f"{item.condition}.mp4")
                write_film(paths[-1], item, request.policy.contract.control_rate_hz)
    return paths
