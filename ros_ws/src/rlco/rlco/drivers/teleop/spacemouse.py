"""3Dconnexion SpaceMouse, by pyspacemouse over hidapi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlco.core.teleop import Reading
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError

REPORTS_PER_READ = 64
"""The device sends 125 reports a second; more than this many waiting means it was not read."""


class SpaceMouse:
    """A SpaceMouse; its axes are ROS's: forward, left, up."""

    default_bindings = (
        "left=gripper, right=clutch, left.long=success, right.long=discard, left+right=start, "
        "btn_1=gripper, btn_2=clutch, btn_3=success, btn_4=discard, menu=start, fit=redo, esc=stop"
    )
    default_clutch = "toggle"

    def __init__(self, path: str, *, connect: Callable[[str], Any] | None = None) -> None:
        """Take the hidraw device, "" for the first one found; `connect` opens it."""
        self._path = path
        self._connect = connect or connect_hid
        self._mouse: Any = None

    def open(self) -> str:
        """Connect to the device."""
        self._mouse = self._connect(self._path)
        return str(self._mouse.describe_connection())

    def read(self) -> Reading:
        """Take in every report that waits, one by one, and return the state after the last.

        A button that went down and up again since the last call counts as held once.
        """
        from easyhid import HIDException

        names = [name.lower() for name in self._mouse.info.button_names]
        stamp, held = None, set()
        try:
            for _ in range(REPORTS_PER_READ):
                state = self._mouse.read()
                if state.t == stamp:
                    break
                stamp = state.t
                held |= {name for name, down in zip(names, state.buttons, strict=True) if down}
        except HIDException as error:
            raise DeviceLostError(f"the SpaceMouse is gone: {error}. Check its cable.") from error
        return Reading(
            axes=np.array([state.x, state.y, state.z, state.roll, state.pitch, state.yaw]),
            held=frozenset(held),
        )

    def close(self) -> None:
        """Close the HID device."""
        if self._mouse is not None:
            self._mouse.close()
            self._mouse = None


def connect_hid(path: str) -> Any:
    """Open a SpaceMouse with pyspacemouse.

    Raises:
        DeviceSetupError: if library or permission is missing.
        DeviceLostError: if there is none.
    """
    try:
        import pyspacemouse
    except (ImportError, OSError, TypeError) as error:  # easyhid fails so without libhidapi
        raise DeviceSetupError(
            f"the spacemouse device needs pyspacemouse and hidapi ({error}). Type: pip install "
            "'rlco[teleop]', and on Debian or Ubuntu: apt-get install libhidapi-hidraw0"
        ) from error
    convention = pyspacemouse.AxisConvention.ROS
    try:
        if path:
            return pyspacemouse.open_by_path(path, axis_convention=convention)
        return pyspacemouse.open(axis_convention=convention)
    except (RuntimeError, FileNotFoundError, ValueError) as error:
        raise DeviceLostError(
            f"no SpaceMouse at {path or 'any port'}: {error} Check its cable, and that this user "
            "may read /dev/hidraw* (a udev rule: docs/devices.md)."
        ) from error
