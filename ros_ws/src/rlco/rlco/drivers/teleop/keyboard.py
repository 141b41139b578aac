"""The keyboard of the terminal the node runs in; works over ssh.

A terminal tells when a key goes down and repeats it while it is held, but not when it goes up. A
key counts as held until it was not repeated for a while: a tap moves the arm by a small step.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from typing import Any

from rlco.core.teleop import Reading
from rlco.drivers.teleop import keys
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError

MOTION_HOLD_S = 0.12
"""Terminals repeat a key 25 to 30 times a second..."""
BUTTON_HOLD_S = 0.7
"""...and begin to after half a second: a key held down for long must not count twice."""
ESCAPES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left"}
"""ECMA-48 cursor keys, as terminals send them."""


class TerminalKeyboard:
    """Keys typed into a terminal."""

    default_bindings = keys.BINDINGS
    default_clutch = "always"

    def __init__(
        self, *, descriptor: int | None = None, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the terminal's file descriptor; None: standard input."""
        self._given = descriptor
        self._clock_s = clock_s
        self._descriptor: int | None = None
        self._saved: list[Any] | None = None
        self._until_s: dict[str, float] = {}

    def open(self) -> str:
        """Have the terminal hand over keys at once and unechoed; Ctrl-C still ends the node."""
        descriptor = sys.stdin.fileno() if self._given is None else self._given
        if not os.isatty(descriptor):
            raise DeviceSetupError(
                "the keyboard device needs a terminal: run `ros2 run rlco teleop` in one of its "
                "own, or choose desktop_keyboard"
            )
        self._saved = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor)
        self._descriptor = descriptor
        return f"keyboard of {os.ttyname(descriptor)}"

    def read(self) -> Reading:
        """Take in what was typed since the last call."""
        now_s = self._clock_s()
        for name in parse(self._typed()):
            self._until_s[name] = now_s + (MOTION_HOLD_S if name in keys.AXES else BUTTON_HOLD_S)
        self._until_s = {name: end_s for name, end_s in self._until_s.items() if end_s > now_s}
        return Reading(axes=keys.axes(self._until_s), held=frozenset(self._until_s))

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._descriptor is not None and self._saved is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
        self._descriptor = None

    def _typed(self) -> bytes:
        assert self._descriptor is not None
        if not select.select([self._descriptor], [], [], 0)[0]:
            return b""
        try:
            data = os.read(self._descriptor, 1024)
        except OSError as error:
            raise DeviceLostError(f"the terminal is gone: {error}") from error
        if not data:
            raise DeviceLostError("the terminal was closed")
        return data


def parse(data: bytes) -> list[str]:
    """Return the names of the keys in what a terminal sent; upper case counts as lower case."""
    names = []
    while data:
        for sequence, name in ESCAPES.items():
            if data.startswith(sequence):
                names.append(name)
                data = data[len(sequence) :]
                break
        else:
            character = data[:1].decode("latin-1")
            names.append(keys.NAMES.get(character, character.lower()))
            data = data[1:]
    return names
