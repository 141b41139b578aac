"""What a teleoperation device is to rlco: something that is looked at, again and again."""

from __future__ import annotations

from typing import Protocol

from rlco.core.teleop import Reading


class DeviceLostError(RuntimeError):
    """The device is not there or does not answer; the message says what to check."""


class DeviceSetupError(RuntimeError):
    """The device cannot be used as things stand, as when its library is not installed."""


class TeleopDevice(Protocol):
    """A device. `read` never waits longer than a few milliseconds."""

    @property
    def default_bindings(self) -> str:
        """What its buttons do unless the settings say otherwise, as `parse_bindings` reads it."""

    @property
    def default_clutch(self) -> str:
        """The clutch that suits it: hold, toggle or always."""

    def open(self) -> str:
        """Connect; return what was found, for the log.

        Raises:
            DeviceLostError: if it is not there.
            DeviceSetupError: if trying again does not help.
        """

    def read(self) -> Reading:
        """Return its state now.

        Raises:
            DeviceLostError: if it is gone; it is then to be closed.
        """

    def close(self) -> None:
        """Let it go; does no harm when it is not open."""
