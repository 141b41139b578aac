"""From settings to a device."""

from __future__ import annotations

from rlco.drivers.teleop.desktop_keyboard import DesktopKeyboard
from rlco.drivers.teleop.device import TeleopDevice
from rlco.drivers.teleop.gamepad import Gamepad
from rlco.drivers.teleop.gello import Gello
from rlco.drivers.teleop.keyboard import TerminalKeyboard
from rlco.drivers.teleop.spacemouse import SpaceMouse
from rlco.parameters.teleop import TeleopSettings


def make_device(settings: TeleopSettings) -> TeleopDevice:
    """Return the device that `settings` name, not yet open.

    Raises:
        DeviceSetupError: if its library is not installed, saying how to.
    """
    if settings.device == "spacemouse":
        return SpaceMouse(settings.path)
    if settings.device == "keyboard":
        return TerminalKeyboard()
    if settings.device == "desktop_keyboard":
        return DesktopKeyboard()
    if settings.device == "gamepad":
        return Gamepad(settings.path, settings.gamepad)
    return Gello(settings)
