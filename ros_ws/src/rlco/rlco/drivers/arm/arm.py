"""What an arm is to rlco."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class ArmError(RuntimeError):
    """The arm cannot be reached or does not do as it is told; the message says what to check."""


@dataclass(frozen=True, kw_only=True)
class ArmHealth:
    """What the robot says of itself: one of ArmStatus's modes, and the error flags that are set."""

    mode: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmSample:
    """One measurement: the TCP pose `(4, 4)` in the base frame, joints `(7,)` (rad, rad/s)."""

    T_base_tcp: Array
    joints_rad: Array
    joint_speeds_rad_s: Array
    health: ArmHealth


class Arm(Protocol):
    """An arm that this process drives. No call but `let_go` and `recover` waits for a motion.

    `check` is to be called all the time, at rest too.
    """

    version: str
    """What was connected to: versions of server, library and system."""

    def sample(self) -> ArmSample:
        """Measure.

        Raises:
            ArmError: if the connection is lost.
        """

    def follow(self, T_base_target: Array) -> None:
        """Head for a set-point `(4, 4)`, base frame, in place of the one before.

        Raises:
            ArmError: if the robot refuses or has stopped by itself.
        """

    def check(self) -> None:
        """Notice a motion that the robot has ended by itself.

        Raises:
            ArmError: with the robot's reason.
        """

    def hold(self) -> None:
        """Come to rest smoothly, as fast as `stop_factor` permits.

        Raises:
            ArmError: if the robot refuses or has stopped by itself.
        """

    def let_go(self) -> None:
        """Wait until the arm rests after `hold`, and end control of the robot.

        Raises:
            ArmError: if it does not come to rest, or has stopped by itself.
        """

    def recover(self) -> None:
        """Clear the robot's error, on a person's word.

        Raises:
            ArmError: if it stays.
        """
