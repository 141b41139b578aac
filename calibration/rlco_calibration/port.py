"""What a calibration needs of a bench: see, move, and have the board put somewhere.

A ROS node implements this by topics; the simulated lab also in the process. One `command` is one
control period.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.initial_condition import InitialCondition

Array = NDArray[np.float64]
BoardPlace = Literal["none", "gripper", "table"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The arm's state at one time: TCP pose `(4, 4)` in the base frame, finger opening (m)."""

    stamp_ns: int
    T_base_tcp: Array
    width_m: float


class BenchPort(Protocol):
    """A bench, real or simulated."""

    def read(self) -> Reading:
        """Return the arm's state now."""

    def frame(self, camera: str) -> tuple[int, NDArray[np.uint8]]:
        """Return a camera's frame of now: capture stamp (ns) and `(H, W, 3)` uint8 RGB."""

    def objects(self) -> dict[str, Array]:
        """Return `T_base_object` by name, where something tracks objects; else nothing."""

    def command(self, T_base_target: Array, width_m: float) -> Array:
        """Send a target for one control period, wait until it is over, and return what was sent.

        A guard between here and the arm may have shortened the step.
        """

    def place_board(self, where: BoardPlace) -> None:
        """Have the board put somewhere; returns when it is there."""

    def lay_out(self, condition: InitialCondition) -> None:
        """Have objects put in place and bring the arm to the condition's start, tool down."""
