"""From targets to the actions of an episode, none beyond the contract and none of them lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.episode import LIMIT_TOLERANCE
from rlco_datasets.frames import apply_delta, delta_between

from rlco.core.targets import shortened

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Deltas:
    """The motion part of an episode's actions, T steps, and what had to be shortened."""

    values: Array
    """`(T, 6)` m and rad, base frame, each within the contract's bound on a step."""
    shortened: tuple[int, ...] = ()
    """The steps whose target was beyond the bound."""
    most_m: float = 0.0
    """The longest of their translations, before."""
    most_rad: float = 0.0

    @property
    def note(self) -> str:
        """Say it to a person; "" where nothing was shortened."""
        if not self.shortened:
            return ""
        return (
            f"{len(self.shortened)} of {len(self.values)} steps, the first {self.shortened[0]}, "
            f"moved further than the contract allows (up to {self.most_m:.3f} m, "
            f"{self.most_rad:.3f} rad); the steps after them carry the rest"
        )


def deltas(
    first: Array, executed: Array, contract: Contract, *, meant: Array | None = None
) -> Deltas:
    """Return the steps to the targets `executed` `(T, 4, 4)`, each from the one before it.

    `first` `(4, 4)` is the target before the first step. Where a target is beyond the contract's
    bound, the step is as long as the contract allows, as it is when an action is executed
    (`TargetIntegrator`), and the next one starts where it ended: played back, the actions catch up
    with the targets. Given what was `meant` `(T, 4, 4)`, the steps are to that, each from what was
    executed before it.
    """
    limits = (contract.max_translation_m, contract.max_rotation_rad)
    reference = first
    values, beyond, sizes = [], [], [(0.0, 0.0)]
    for step, (reached, wanted) in enumerate(
        zip(executed, executed if meant is None else meant, strict=True)
    ):
        start, reference = reference, reached
        delta = delta_between(start, wanted)
        size = (float(np.linalg.norm(delta[:3])), float(np.linalg.norm(delta[3:])))
        if any(
            length > limit + LIMIT_TOLERANCE for length, limit in zip(size, limits, strict=True)
        ):
            delta = shortened(delta, *limits)
            beyond.append(step)
            sizes.append(size)
            if meant is None:
                reference = apply_delta(start, delta)
        values.append(delta)
    most_m, most_rad = np.max(sizes, axis=0)
    return Deltas(
        values=np.stack(values), shortened=tuple(beyond), most_m=most_m, most_rad=most_rad
    )
