"""Streams read on the contract's grid, by capture stamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import apply_delta, delta_between

from rlco.core.streams import Sample, Stream

MAX_AGE_PERIODS = 5


class EpisodeGapError(ValueError):
    """The streams do not cover an episode; the message names the topic."""


def held(stream: Stream, grid: NDArray[np.int64], period_ns: int) -> tuple[list[Sample], bool]:
    """Return the sample in force at each instant of `grid` `(T,)`, and whether one was too old.

    Too old is a sample of more than a period: the stream was slower than the contract. The grid
    begins where the stream has begun.

    Raises:
        EpisodeGapError: if one is older than `MAX_AGE_PERIODS` periods.
    """
    samples, late = [], False
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
        late |= age_ns >= period_ns
        samples.append(sample)
    return samples, late


def interpolated(
    stream: Stream, grid: NDArray[np.int64], period_ns: int
) -> tuple[list[Sample], bool]:
    """As `held`, for poses `(4, 4)`: between two samples, interpolated at the very instant.

    Position is interpolated on a line, rotation on the geodesic. Across more than a period nothing
    is made up: there the sample before stands.
    """
    samples, late = held(stream, grid, period_ns)
    for step, (stamp_ns, before) in enumerate(zip(grid.tolist(), samples, strict=True)):
        after = stream.after(stamp_ns)
        if stamp_ns == before.stamp_ns or after is None:
            continue
        gap_ns = after.stamp_ns - before.stamp_ns
        if gap_ns <= period_ns:
            share = (stamp_ns - before.stamp_ns) / gap_ns
            delta = share * delta_between(before.value, after.value)
            samples[step] = Sample(stamp_ns=stamp_ns, value=apply_delta(before.value, delta))
    return samples, late
