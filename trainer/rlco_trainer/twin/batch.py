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
    ) -> None:
        """Build `n` scenes; the arguments are those of `TwinScene`.

        Raises:
            ValueError: if `n` is not positive.
        """
        if n < 1:
            raise ValueError(f"a batch needs at least one scene, got n={n}")
        renderer = None if images == "none" else SceneRenderer(twin, contract, task, images)
        self.scenes = tuple(
            TwinScene(twin, contract, task, images=images, seed=seed, renderer=renderer)
            for _ in range(n)
        )
        self.twin, self.contract, self.task = twin, contract, task
        self._arguments: dict[str, Any] = {"n": n, "images": images, "seed": seed}
        self._siblings = {task: self}

    def for_task(self, task: str) -> TwinBatch:
        """Return as many scenes of another task, built on first use and then kept.

        Raises:
            TwinError: if the twin has no such task.
        """
        if task not in self._siblings:
            sibling = TwinBatch(self.twin, self.contract, task, **self._arguments)
            sibling._siblings = self._siblings
            self._siblings[task] = sibling
        return self._siblings[task]

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
            self.scenes[row].reset(initial)

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
