"""Gamepads, by the kernel's joystick interface.

`/dev/input/js*` gives events of eight bytes: time (u32 ms), value (s16), type (u8) and number (u8);
see the kernel's Documentation/input/joydev/joystick-api.rst. On opening, it sends the whole state
with the bit INIT set.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

import numpy as np

from rlco.core.teleop import Reading
from rlco.drivers.teleop.device import DeviceLostError

EVENT = struct.Struct("=IhBB")
BUTTON, AXIS, INIT = 0x01, 0x02, 0x80
FULL = 32767.0
EVENTS_PER_READ = 256


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which number is which, as the kernel's driver reports it."""

    buttons: tuple[str, ...]
    left_x: int = 0
    left_y: int = 1
    left_trigger: int = 2
    right_x: int = 3
    right_y: int = 4
    right_trigger: int = 5
    hat_x: int = 6
    hat_y: int = 7


LAYOUTS = {
    "xbox": Layout(buttons=("a", "b", "x", "y", "lb", "rb", "back", "start", "guide", "ls", "rs")),
    # hid-playstation: cross, circle, triangle, square where xpad has a, b, x, y
    "playstation": Layout(
        buttons=(
            *("a", "b", "y", "x", "lb", "rb", "l2", "r2", "back", "start", "guide", "ls", "rs"),
        )
    ),
}


class Gamepad:
    """Left stick: forward and left. Triggers: down and up. Right stick: yaw and pitch. Hat: roll.

    `lb` is the dead man's button.
    """

    default_bindings = (
        "lb=clutch, a=gripper, rb=faster, ls=slower, start=start, y=success, y.long=failure, "
        "x=discard, x.long=redo, b=stop, back=estop, guide=resume"
    )
    default_clutch = "hold"

    def __init__(self, path: str, gamepad: str) -> None:
        """Take the device and its layout's name."""
        self._path = path
        self._layout = LAYOUTS[gamepad]
        self._descriptor: int | None = None
        self._axes: dict[int, float] = {}
        self._held: set[str] = set()
        self._waiting = b""

    def open(self) -> str:
        """Open the device without waiting for events."""
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise DeviceLostError(
                f"gamepad {self._path} cannot be opened: {error.strerror}. Is it switched on, is "
                "the kernel module joydev loaded, and is this user in the group input?"
            ) from error
        self._axes, self._held, self._waiting = {}, set(), b""
        return f"gamepad {self._path}"

    def read(self) -> Reading:
        """Take in the events since the last call."""
        assert self._descriptor is not None
        try:
            data = os.read(self._descriptor, EVENT.size * EVENTS_PER_READ)
        except BlockingIOError:
            data = None
        except OSError as error:
            raise DeviceLostError(f"gamepad {self._path} is gone: {error.strerror}") from error
        if data == b"":
            raise DeviceLostError(f"gamepad {self._path} is gone")
        tapped = self._take(self._waiting + (data or b""))
        return Reading(axes=self._motion(), held=frozenset(self._held | tapped))

    def close(self) -> None:
        """Close the device."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, data: bytes) -> set[str]:
        """Take in events; return the buttons that went down, even if they are up again."""
        tapped = set()
        whole = len(data) // EVENT.size * EVENT.size
        self._waiting = data[whole:]
        for _, value, kind, number in EVENT.iter_unpack(data[:whole]):
            if kind & ~INIT == AXIS:
                self._axes[number] = max(value / FULL, -1.0)
            elif kind & ~INIT == BUTTON and number < len(self._layout.buttons):
                name = self._layout.buttons[number]
                if value:
                    self._held.add(name)
                    tapped.add(name)
                else:
                    self._held.discard(name)
        return tapped

    def _motion(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Return the axes; the kernel's sticks point right and down, its triggers rest at -1."""
        layout = self._layout

        def stick(number: int) -> float:
            return self._axes.get(number, 0.0)

        def trigger(number: int) -> float:
            return (self._axes.get(number, -1.0) + 1.0) / 2

        return np.array(
            [
                -stick(layout.left_y),
                -stick(layout.left_x),
                trigger(layout.right_trigger) - trigger(layout.left_trigger),
                stick(layout.hat_x),
                -stick(layout.right_y),
                -stick(layout.right_x),
            ]
        )
