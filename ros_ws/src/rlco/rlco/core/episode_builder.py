"""From recorded streams to an episode of the contract.

Streams are read on the contract's grid by capture stamps, nearest before. Step `k` is what was
observed at `t_k` and what was then commanded; commands carry the stamp from which they apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import delta_between, state_vector

from rlco.core.streams import Sample, Stream

RATE_MISSED = "rate_missed"
COMMAND_HELD = "command_held"
MAX_AGE_PERIODS = 5


class EpisodeGapError(ValueError):
    """The streams do not cover an episode; the message names the topic."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """What is recorded; every stream is named by its topic.

    Values: `images`: `(H, W, 3)` uint8 policy images per camera; `pose`, `target`, `label`:
    `(4, 4)` in the base frame; `width`, `width_target`: m. `label` is what the operator meant where
    that is not what was executed (noise for robustness); None where it is.
    """

    images: Mapping[str, Stream]
    pose: Stream
    width: Stream
    target: Stream
    width_target: Stream
    label: Stream | None = None

    @property
    def observed(self) -> dict[str, Stream]:
        """Stamp stream of the store -> the stream observed under it."""
        cameras = {f"camera/{name}": stream for name, stream in self.images.items()}
        return {"state": self.pose, "gripper": self.width, **cameras}

    @property
    def commanded(self) -> list[Stream]:
        """The streams of commands."""
        labels = [] if self.label is None else [self.label]
        return [self.target, self.width_target, *labels]

    @property
    def all(self) -> list[Stream]:
        """Every stream."""
        return [*self.observed.values(), *self.commanded]


@dataclass(frozen=True, kw_only=True, eq=False)
class BuiltEpisode:
    """The arrays of an episode, T steps, and what is to be said about it."""

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    stamps_ns: dict[str, NDArray[np.int64]]
    flags: tuple[str, ...]


def build(streams: Streams, contract: Contract, *, last_ns: int = 0) -> BuiltEpisode:
    """Build the episode from the first commanded step to that of `last_ns` (0: the last commanded).

    Action `k` is the target commanded at `t_k` relative to the one executed before it; where there
    is none before, relative to the pose measured at the first step. Flags: `rate_missed` if a
    stream was slower than the contract, `command_held` if a step had no command of its own and the
    last one stood.

    Raises:
        EpisodeGapError: if nothing was commanded, or a stream has a gap of over 5 periods.
    """
    grid = _grid(streams, contract.period_ns, last_ns)
    flags: set[str] = set()
    observed = {
        name: _on_grid(stream, grid, contract.period_ns, flags, RATE_MISSED)
        for name, stream in streams.observed.items()
    }
    target, width_target, *labels = (
        _on_grid(stream, grid, contract.period_ns, flags, COMMAND_HELD)
        for stream in streams.commanded
    )
    poses = np.stack([sample.value for sample in observed["state"]])
    width_m = np.array([sample.value for sample in observed["gripper"]], float)
    executed = np.stack([sample.value for sample in target])
    meant = np.stack([sample.value for sample in labels[0]]) if labels else executed
    earlier = streams.target.before(int(grid[0]) - 1)
    first = poses[0] if earlier is None else earlier.value
    references = np.concatenate([first[None], executed[:-1]])
    opening = np.array([sample.value for sample in width_target]) / contract.gripper_max_width_m
    actions = np.concatenate(
        [delta_between(references, meant), np.clip(opening, 0.0, 1.0)[:, None]], axis=1
    )
    return BuiltEpisode(
        images={
            name: np.stack([sample.value for sample in observed[f"camera/{name}"]])
            for name in streams.images
        },
        state=state_vector(poses, width_m),
        actions=actions.astype(np.float32),
        stamps_ns={"step": grid, "command": _stamps(target)}
        | {name: _stamps(samples) for name, samples in observed.items()},
        flags=tuple(sorted(flags)),
    )


def _grid(streams: Streams, period_ns: int, last_ns: int) -> NDArray[np.int64]:
    """Return the steps from the first instant at which all is known to the last command."""
    firsts = [(stream.name, stream.oldest) for stream in streams.all]
    missing = sorted(name for name, sample in firsts if sample is None)
    if missing:
        raise EpisodeGapError(
            f"nothing was received on {', '.join(missing)} during the episode. Check that its "
            "publisher runs, and that commands were given before the stop."
        )
    start_ns = max(sample.stamp_ns for _, sample in firsts if sample is not None)
    lasts = [stream.newest for stream in streams.commanded]
    commanded_ns = min(sample.stamp_ns for sample in lasts if sample is not None)
    last_ns = min(last_ns or commanded_ns, commanded_ns)
    if last_ns < start_ns:
        raise EpisodeGapError(
            f"the last command ({last_ns} ns) is older than the first complete observation "
            f"({start_ns} ns): the episode has no steps"
        )
    return np.arange(start_ns, last_ns + 1, period_ns, dtype=np.int64)


def _on_grid(
    stream: Stream, grid: NDArray[np.int64], period_ns: int, flags: set[str], flag: str
) -> list[Sample]:
    samples = []
    for stamp_ns in grid.tolist():
        sample = stream.before(stamp_ns)
        assert sample is not None  # the grid starts where every stream has begun
        age_ns = stamp_ns - sample.stamp_ns
        if age_ns > MAX_AGE_PERIODS * period_ns:
            step = (stamp_ns - int(grid[0])) // period_ns
            raise EpisodeGapError(
                f"topic {stream.name}: nothing for {age_ns / 1e9:.2f} s at step {step}, so the "
                "episode has a hole. Check that topic's publisher and record again."
            )
        if age_ns >= period_ns:
            flags.add(flag)
        samples.append(sample)
    return samples


def _stamps(samples: list[Sample]) -> NDArray[np.int64]:
    return np.array([sample.stamp_ns for sample in samples], np.int64)
