"""The keyboard of the desktop session, whichever window has the focus, by pynput.

It tells when keys go up, so that the arm stops at once; it needs an X session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rlco.core.teleop import Reading
from rlco.drivers.teleop import keys
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError

BOUNCE_S = 0.03
"""X repeats a held key as release and press; a release counts once no press followed it."""


class DesktopKeyboard:
    """Keys of the X session."""

    default_bindings = keys.BINDINGS
    default_clutch = "always"

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Hold no key."""
        self._clock_s = clock_s
        self._released_s: dict[str, float | None] = {}  # None: down
        self._unseen: set[str] = set()
        self._lock = threading.Lock()
        self._listener: Any = None

    def open(self) -> str:
        """Begin to listen."""
        try:
            from pynput import keyboard
        except ImportError as error:  # pynput also raises it where there is no X session
            raise DeviceSetupError(
                f"the desktop_keyboard device needs pynput and an X session ({error}). Type: pip "
                "install 'rlco[teleop]'; over ssh choose keyboard instead"
            ) from error
        self._listener = keyboard.Listener(on_press=self.press, on_release=self.release)
        self._listener.start()
        self._listener.wait()
        return "keyboard of the X session"

    def read(self) -> Reading:
        """Return the keys held now; one that was tapped since the last call counts once."""
        if self._listener is not None and not self._listener.is_alive():
            raise DeviceLostError("the X session ended")
        now_s = self._clock_s()
        with self._lock:
            self._released_s = {
                name: at_s
                for name, at_s in self._released_s.items()
                if at_s is None or now_s - at_s < BOUNCE_S or name in self._unseen
            }
            self._unseen.clear()
            held = frozenset(self._released_s)
        return Reading(axes=keys.axes(held), held=held)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        with self._lock:
            self._released_s.clear()

    def press(self, key: Any) -> None:
        """Note that a key went down; called by pynput."""
        with self._lock:
            self._released_s[name_of(key)] = None
            self._unseen.add(name_of(key))

    def release(self, key: Any) -> None:
        """Note that a key went up; called by pynput."""
        with self._lock:
            if name_of(key) in self._released_s:
                self._released_s[name_of(key)] = self._clock_s()


def name_of(key: Any) -> str:
    """Return what a binding calls pynput's key."""
    character = getattr(key, "char", None)
    if character:
        return keys.NAMES.get(character, str(character).lower())
    return str(getattr(key, "name", key)).lower()
