"""What a gripper is to rlco."""

from __future__ import annotations

from typing import Protocol

from rlco.core.grip import GripAction


class GripperError(RuntimeError):
    """The gripper cannot be reached or does not do as it is told."""


class Gripper(Protocol):
    """A gripper that does one action at a time. No call waits for one."""

    version: str

    @property
    def busy(self) -> bool:
        """Whether an action is under way."""

    @property
    def width_m(self) -> float | None:
        """The opening measured last; None: not known yet."""

    def do(self, action: GripAction) -> None:
        """Begin an action. A stop ends the one under way.

        Raises:
            GripperError: if it cannot be begun.
        """

    def complaint(self) -> str:
        """Return why the last action failed, once; "" if it did not."""

    def close(self) -> None:
        """Let go of the device."""
