"""Streams read on the contract's grid, by capture stamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import apply_delta, delta_between

from rlco.core.streams import Sample, Stream

MAX_AGE_PERIODS = 5


class EpisodeGapError(ValueError):
    """The streams do not cover an episode; the message names the topic."""


def held(
    stream: Stream, grid: NDArray[np.int64], period_ns: int, *, command: bool = False
) -> tuple[list[Sample], bool]:
    """Return the sample in force at each instant of `grid` `(T,)`, and whether one was too old.

    Too old is a sample of more than a period: the stream was slower than the contract. The grid
    begins where the stream has begun. A `command` stays in force however old it is: an operator who
    lets go of the clutch sends none, and the arm stays. It comes with jitter, too, and is too old
    only where the next one is two periods later or more.

    Raises:
        EpisodeGapError: if an observation is older than `MAX_AGE_PERIODS` periods.
    """
    samples, late = [], False
    for stamp_ns in grid.tolist():
        sample = stream.before(stamp_ns)
        assert sample is not None  # the grid starts where every stream has begun
        age_ns = stamp_ns - sample.stamp_ns
        if age_ns > MAX_AGE_PERIODS * period_ns and not command:
            step = (stamp_ns - int(grid[0])) // period_ns
            raise EpisodeGapError(
                f"topic {stream.name}: nothing for {age_ns / 1e9:.2f} s at step {step}, so the "
                "episode has a hole. Check that topic's publisher and record again."
            )
        after = stream.after(stamp_ns) if command else None
        gap_ns = age_ns if after is None else (after.stamp_ns - sample.stamp_ns) // 2
        late |= age_ns >= period_ns and gap_ns >= period_ns
        samples.append(sample)
    return samples, late


def interpolated(
    stream: Stream, grid: NDArray[np.int64], period_ns: int
) -> tuple[list[Sample], bool]:
    """As `held`, for measured poses `(4, 4)`: on the way between two samples at each instant.

    Across more than a period nothing is made up: there the sample before stands.
    """
    samples, late = held(stream, grid, period_ns)
    between = [
        _between(stream, stamp_ns, before, period_ns)
        for stamp_ns, before in zip(grid.tolist(), samples, strict=True)
    ]
    return between, late


def set_points(
    stream: Stream, grid: NDArray[np.int64], period_ns: int
) -> tuple[list[Sample], bool]:
    """As `held`, for commanded poses `(4, 4)`: the set-point on the way at each instant.

    Whoever commands once a period does so with jitter: of two instants of the grid, one may have no
    set-point since the last and the next two. Read nearest before, the arm would stand and then
    jump, which it never did; on the way between set-points it moves no faster than they were
    permitted to. Set-points two periods or more apart are no such pair: the earlier one stands.
    """
    samples, late = held(stream, grid, period_ns, command=True)
    for step, (stamp_ns, before) in enumerate(zip(grid.tolist(), samples, strict=True)):
        samples[step] = _between(stream, stamp_ns, before, 2 * period_ns - 1)
    return samples, late


def _between(stream: Stream, stamp_ns: int, before: Sample, longest_ns: int) -> Sample:
    """Return the pose at `stamp_ns`, or the one `before` where the next is too far off or unknown.

    Position is interpolated on a line, rotation on the geodesic.
    """
    after = stream.after(stamp_ns)
    if stamp_ns == before.stamp_ns or after is None:
        return before
    gap_ns = after.stamp_ns - before.stamp_ns
    if gap_ns > longest_ns:
        return before
    share = (stamp_ns - before.stamp_ns) / gap_ns
    delta = share * delta_between(before.value, after.value)
    return Sample(stamp_ns=stamp_ns, value=apply_delta(before.value, delta))
