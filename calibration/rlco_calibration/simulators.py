"""Finds the simulator that replays motions: whatever is installed under `rlco.simulators`.

The trainer registers its twin there. Calibration itself does not import the trainer, so that a
robot PC can calibrate cameras without a simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import InitialCondition

from rlco_calibration.demonstration import Replayed
from rlco_calibration.errors import CalibrationError
from rlco_calibration.recording import Recording, Simulator
from rlco_calibration.twin import Twin

GROUP = "rlco.simulators"


@dataclass(frozen=True, kw_only=True)
class View:
    """What a camera of a twin sees: frame `(H, W, 3)` RGB, and `(H, W)` labels of `outline`."""

    frame: NDArray[np.uint8]
    labels: NDArray[np.uint8]


ARM_NAME = "arm"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a camera of a twin sees of a start: frame `(H, W, 3)` RGB, without the sensor's noise.

    `masks` `(H, W)` say where each object, cabinet, handle (with its drawer) and the arm
    (`ARM_NAME`) is seen.
    """

    frame: NDArray[np.uint8]
    masks: dict[str, NDArray[np.bool_]]


class TwinSimulator(Simulator, Protocol):
    """A simulator, its grid of time, and its view of a twin."""

    @property
    def substep_s(self) -> float:
        """The grid of delays that the simulation tells apart."""

    def view(self, twin: Twin, camera: str, T_base_tcp: NDArray[np.float64]) -> View:
        """Return what a camera of the twin sees with the arm at a pose."""

    def look(self, twin: Twin, camera: str, start: InitialCondition) -> Look:
        """Return what a camera of the twin sees with everything at a start."""

    def close(self) -> None:
        """End the processes that replay, where there are any; may be repeated."""

    def demonstrate(self, twin: Twin, demonstration: Recording) -> Replayed:
        """Return what the twin does with a demonstration's commands, and whether that solves it.

        After the last command the arm is held where it is for a moment, so that what is to come to
        rest does; the track ends with the last command.
        """


def simulator(contract: Contract, *, workers: int = 1) -> TwinSimulator:
    """Return the installed simulator for a contract; close it when it is done.

    With several `workers` it replays motions in as many processes.

    Raises:
        CalibrationError: if there is none.
    """
    found = list(entry_points(group=GROUP))
    if not found:
        raise CalibrationError(
            "no simulator is installed to replay motions in the twin. Install the trainer with its "
            "simulation (rlco-trainer[sim]), or copy the folder to a machine that has it."
        )
    made: TwinSimulator = found[0].load()(contract, workers=workers)
    return made
