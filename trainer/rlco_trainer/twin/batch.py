"""Many scenes of one task in one process, sharing one renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import InitialCondition

from rlco_trainer.twin import randomise
from rlco_trainer.twin.scene import ImageMode, SceneRenderer, TwinScene
from rlco_trainer.twin.tasks import TaskStatus


@dataclass(frozen=True, kw_only=True)
class ObservationBatch:
    """Observations of `B` scenes, in the order of the rows asked for.

    `images`: `(B, H, W, 3) uint8` by camera; `state`: `(B, 10) float32`; `privileged`:
    `(B, P) float32`, see `TwinScene.privileged`.
    """

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    privileged: NDArray[np.float32]


class TwinBatch:
    """`n` scenes that are stepped row by row; pictures are taken in `observe` only.

    A row behaves exactly as a `TwinScene` of its own: nothing a row does shows in another.
    """

    def __init__(
        self,
        twin: Twin,
        contract: Contract,
        task: str,
        n: int,
        *,
        images: ImageMode = "policy",
        seed: int = 0,
        number: int = 0,
        randomised: bool = False,
    ) -> None:
        """Build `n` scenes.

        Args:
            twin: the bench, as in `TwinScene`.
            contract: as in `TwinScene`.
            task: as in `TwinScene`.
            n: how many scenes.
            images: as in `TwinScene`.
            seed: of sensor noise and of what is drawn.
            number: which of several batches this is; each draws benches of its own.
            randomised: give each scene a bench of its own, drawn within the twin's uncertainties
                (`randomise.drawn`), for as long as the batch lives.

        Raises:
            ValueError: if `n` is not positive.
        """
        if n < 1:
            raise ValueError(f"a batch needs at least one scene, got n={n}")
        if randomised:
            self._benches = [
                randomise.drawn(twin, np.random.default_rng([seed, number, row]))
                for row in range(n)
            ]
        else:
            self._benches = [twin] * n
        shared = None
        if images != "none" and not randomised:
            shared = SceneRenderer(twin, contract, task, images)
        self.scenes = tuple(
            TwinScene(bench, contract, task, images=images, seed=seed, renderer=shared)
            for bench in self._benches
        )
        self.twin, self.contract, self.task = twin, contract, task
        self._arguments: dict[str, Any] = {
            "n": n,
            "images": images,
            "seed": seed,
            "number": number,
        }
        self._siblings = {(task, randomised): self}

    def for_task(self, task: str, *, randomised: bool = False) -> TwinBatch:
        """Return as many scenes of a task, built on first use and then kept.

        Raises:
            TwinError: if the twin has no such task.
        """
        key = (task, randomised)
        if key not in self._siblings:
            sibling = TwinBatch(
                self.twin, self.contract, task, randomised=randomised, **self._arguments
            )
            sibling._siblings = self._siblings
            self._siblings[key] = sibling
        return self._siblings[key]

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.scenes)

    @property
    def rows(self) -> NDArray[np.int64]:
        """All rows."""
        return np.arange(len(self.scenes))

    def reset(self, rows: Sequence[int], initials: Sequence[InitialCondition]) -> None:
        """Reset each row to its initial condition."""
        for row, initial in zip(rows, initials, strict=True):
            bench = self._benches[row]
            self.scenes[row].reset(randomise.moved_to(initial, self.twin, bench))

    def observe(self, rows: Sequence[int]) -> ObservationBatch:
        """Return what the policy and its critic see now."""
        seen = [self.scenes[row].observe() for row in rows]
        names = seen[0].images.keys() if seen else ()
        return ObservationBatch(
            images={name: np.stack([item.images[name] for item in seen]) for name in names},
            state=np.stack([item.state for item in seen]),
            privileged=self.privileged(rows),
        )

    def privileged(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return `(B, P)`, see `TwinScene.privileged`; renders nothing."""
        return np.stack([self.scenes[row].privileged() for row in rows])

    def step(self, rows: Sequence[int], actions: NDArray[np.floating]) -> None:
        """Apply one contract action `(7,)` of `actions` `(B, 7)` to each row."""
        for row, action in zip(rows, actions, strict=True):
            self.scenes[row].step(action)

    def success(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Return `(B,)`: whether each row is solved now, and has been for the hold time."""
        return np.array([self.scenes[row].status().success for row in rows], bool)

    def rewards(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return `(B,)`: each row's shaped reward now, in [0, 1]."""
        return np.array([self.scenes[row].reward() for row in rows], np.float32)

    def status(self, rows: Sequence[int]) -> list[TaskStatus]:
        """Return how far each row has come."""
        return [self.scenes[row].status() for row in rows]
