"""Recorded motions for system identification: commands, what the arm did, what objects did."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.initial_condition import InitialCondition

from rlco_calibration.errors import CalibrationError
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Track:
    """What happened, once per control period after each command: `N` samples.

    `T_base_tcp` `(N, 4, 4)`; `objects` poses `(N, 4, 4)` by name.
    """

    T_base_tcp: Array
    objects: dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One motion: its start, commanded targets `(N, 4, 4)` and openings `(N,)`, and the track."""

    initial: InitialCondition
    targets: Array
    widths_m: Array
    track: Track

    def save(self, path: Path) -> None:
        """Write `path` (.npz) and the initial condition beside it (.yaml)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            arrays: dict[str, Any] = {
                "targets": self.targets,
                "widths_m": self.widths_m,
                "tcp": self.track.T_base_tcp,
            }
            arrays |= {f"object_{name}": poses for name, poses in self.track.objects.items()}
            np.savez(file, **arrays)
        spec.save(self.initial, path.with_suffix(".yaml"))
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            CalibrationError: if the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
            return cls(
                initial=spec.load(InitialCondition, path.with_suffix(".yaml")),
                targets=arrays["targets"],
                widths_m=arrays["widths_m"],
                track=Track(
                    T_base_tcp=arrays["tcp"],
                    objects={
                        name.removeprefix("object_"): poses
                        for name, poses in arrays.items()
                        if name.startswith("object_")
                    },
                ),
            )
        except (OSError, ValueError, KeyError) as error:
            raise CalibrationError(
                f"{path}: not a whole recording ({error}). Delete it and record again."
            ) from error


class Simulator(Protocol):
    """Replays commands in twins; many at once, in parallel where it can."""

    def __call__(self, jobs: Sequence[tuple[Twin, Recording]]) -> list[Track]:
        """Return what each twin does with the commands of its recording."""


def load_all(folder: Path) -> list[Recording]:
    """Read every recording of a folder, in the order of their names."""
    return [Recording.load(path) for path in sorted(folder.glob("*.npz"))]
