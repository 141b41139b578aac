"""From recorded streams to an episode of the contract.

Streams are read on the contract's grid by capture stamps: poses on the way between their samples,
all else nearest before. Step `k` is what was observed at `t_k` and what was then commanded;
commands carry the stamp from which they apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import quaternion_wxyz, state_vector

from rlco.core.recorded_actions import deltas
from rlco.core.resample import EpisodeGapError, held, interpolated, set_points
from rlco.core.streams import Sample, Stream

RATE_MISSED = "rate_missed"
COMMAND_HELD = "command_held"
STEP_SHORTENED = "step_shortened"
"""The flag of an episode with targets beyond the contract's bound on a step, and the key of
`BuiltEpisode.notes` that says how many and how far."""

Read = Callable[[Stream, NDArray[np.int64], int], tuple[list[Sample], bool]]
"""Reads a stream at the instants of a grid, as `resample.held` does."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """What is recorded; every stream is named by its topic.

    Values: `images`: `(H, W, 3)` uint8 policy images per camera; `pose`, `target`, `label`,
    `raw_target`: `(4, 4)` in the base frame; `width`, `width_target`, `raw_width`: m. `target` and
    `width_target` are what the guard let through. `label` is what the operator meant where that is
    not what was executed (noise for robustness), None where it is; `raw_target` and `raw_width`
    are the operator's own commands, None where they are not recorded.
    """

    images: Mapping[str, Stream]
    pose: Stream
    width: Stream
    target: Stream
    width_target: Stream
    label: Stream | None = None
    raw_target: Stream | None = None
    raw_width: Stream | None = None

    @property
    def observed(self) -> dict[str, Stream]:
        """Stamp stream of the store -> the stream observed under it."""
        cameras = {f"camera/{name}": stream for name, stream in self.images.items()}
        return {"state": self.pose, "gripper": self.width, **cameras}

    @property
    def commanded(self) -> list[Stream]:
        """The streams of commands."""
        optional = (self.label, self.raw_target, self.raw_width)
        return [self.target, self.width_target, *(s for s in optional if s is not None)]

    @property
    def widths(self) -> list[Stream]:
        """The streams of commanded openings."""
        return [self.width_target, *([] if self.raw_width is None else [self.raw_width])]

    @property
    def all(self) -> list[Stream]:
        """Every stream."""
        return [*self.observed.values(), *self.commanded]

    @property
    def start_ns(self) -> int | None:
        """The first instant at which all is known, or None where a stream has not begun."""
        firsts = [stream.oldest for stream in self.all]
        if any(sample is None for sample in firsts):
            return None
        return max(sample.stamp_ns for sample in firsts if sample is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class BuiltEpisode:
    """The arrays of an episode, T steps, and what is to be said about it."""

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    stamps_ns: dict[str, NDArray[np.int64]]
    extras: dict[str, NDArray[Any]] = field(default_factory=dict)
    flags: tuple[str, ...]
    notes: dict[str, str] = field(default_factory=dict)
    """Flag -> what a person should know about it."""


def build(streams: Streams, contract: Contract, *, last_ns: int = 0) -> BuiltEpisode:
    """Build the episode from the first commanded step to that of `last_ns` (0: the last commanded).

    Action `k` is the target commanded at `t_k` relative to the one executed before it; where there
    is none before, relative to the pose measured at the first step. Extras: `operator_target`
    `(T, 7)` (m, quaternion w x y z) and `operator_width_m` `(T,)` where the operator's own commands
    are recorded; `executed_target` `(T, 7)`, what was executed, where the action is what was meant.
    Flags: `rate_missed` if a stream was slower than the contract, `command_held` if a
    step had no command of its own and the last one stood, `step_shortened` if targets were further
    apart than the contract allows (`recorded_actions.deltas`).

    Raises:
        EpisodeGapError: if nothing was commanded, or an observation has a gap of over 5 periods.
    """
    grid = _grid(streams, contract.period_ns, last_ns)
    flags: set[str] = set()

    def read(stream: Stream, by: Read, flag: str) -> list[Sample]:
        samples, late = by(stream, grid, contract.period_ns)
        if late:
            flags.add(flag)
        return samples

    observed = {
        name: read(stream, interpolated if stream is streams.pose else held, RATE_MISSED)
        for name, stream in streams.observed.items()
    }
    widths = partial(held, command=True)
    commanded = {
        stream.name: read(stream, widths if stream in streams.widths else set_points, COMMAND_HELD)
        for stream in streams.commanded
    }
    target, width_target = commanded[streams.target.name], commanded[streams.width_target.name]
    poses = np.stack([sample.value for sample in observed["state"]])
    width_m = np.array([sample.value for sample in observed["gripper"]], float)
    executed = np.stack([sample.value for sample in target])
    meant = None
    if streams.label is not None:
        meant = np.stack([sample.value for sample in commanded[streams.label.name]])
    first = _reference(streams.target, grid, poses[0], contract)
    moved = deltas(first, executed, contract, meant=meant)
    notes = {STEP_SHORTENED: moved.note} if moved.note else {}
    opening = np.array([sample.value for sample in width_target]) / contract.gripper_max_width_m
    actions = np.concatenate([moved.values, np.clip(opening, 0.0, 1.0)[:, None]], axis=1)
    return BuiltEpisode(
        images={
            name: np.stack([sample.value for sample in observed[f"camera/{name}"]])
            for name in streams.images
        },
        state=state_vector(poses, width_m),
        actions=actions.astype(np.float32),
        stamps_ns={"step": grid, "command": _stamps(target)}
        | {name: _stamps(samples) for name, samples in observed.items()},
        extras=_operator(streams, commanded)
        | ({} if streams.label is None else {"executed_target": _vectors(target)}),
        flags=tuple(sorted(flags | set(notes))),
        notes=notes,
    )


def _reference(
    target: Stream, grid: NDArray[np.int64], measured: NDArray[np.float64], contract: Contract
) -> NDArray[np.float64]:
    """Return the target `(4, 4)` a period before the first step; the measured pose if none was."""
    first_ns, oldest = int(grid[0]), target.oldest
    if oldest is None or oldest.stamp_ns >= first_ns:
        return measured
    before_ns = np.array([max(first_ns - contract.period_ns, oldest.stamp_ns)], np.int64)
    (sample,), _ = set_points(target, before_ns, contract.period_ns)
    pose: NDArray[np.float64] = sample.value
    return pose


def _operator(streams: Streams, commanded: Mapping[str, list[Sample]]) -> dict[str, NDArray[Any]]:
    extras: dict[str, NDArray[Any]] = {}
    if streams.raw_target is not None:
        extras["operator_target"] = _vectors(commanded[streams.raw_target.name])
    if streams.raw_width is not None:
        widths_m = [sample.value for sample in commanded[streams.raw_width.name]]
        extras["operator_width_m"] = np.array(widths_m, float)
    return extras


def _grid(streams: Streams, period_ns: int, last_ns: int) -> NDArray[np.int64]:
    """Return the steps from the first instant at which all is known to the last command."""
    start_ns = streams.start_ns
    if start_ns is None:
        missing = sorted(stream.name for stream in streams.all if stream.oldest is None)
        raise EpisodeGapError(
            f"nothing was received on {', '.join(missing)} during the episode. Check that its "
            "publisher runs, and that commands were given before the stop."
        )
    lasts = [stream.newest for stream in streams.commanded]
    commanded_ns = min(sample.stamp_ns for sample in lasts if sample is not None)
    last_ns = min(last_ns or commanded_ns, commanded_ns)
    if last_ns < start_ns:
        raise EpisodeGapError(
            f"the last command ({last_ns} ns) is older than the first complete observation "
            f"({start_ns} ns): the episode has no steps"
        )
    return np.arange(start_ns, last_ns + 1, period_ns, dtype=np.int64)


def _vectors(samples: list[Sample]) -> NDArray[np.float64]:
    """Return sampled poses as `(T, 7)`: m, quaternion w x y z."""
    poses = [sample.value for sample in samples]
    return np.stack([np.concatenate([p[:3, 3], quaternion_wxyz(p[:3, :3])]) for p in poses])


def _stamps(samples: list[Sample]) -> NDArray[np.int64]:
    return np.array([sample.stamp_ns for sample in samples], np.int64)
