"""What the operator means by holding and letting go of a few buttons.

Devices have between two and forty buttons, and a session needs eight commands. So that two are
enough, a binding may name a button (`left`), a long press (`left.long`) or a chord (`left+right`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

LONG = ".long"


class BindingError(ValueError):
    """A binding names an action that does not exist, or the same gesture twice."""


def parse_bindings(text: str, actions: Collection[str]) -> dict[str, str]:
    """Return gesture -> action from text such as `left=gripper, left.long=success`.

    Raises:
        BindingError: naming the part that cannot be read.
    """
    bindings: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        gesture, separator, action = (word.strip() for word in part.rpartition("="))
        if not separator or not gesture or action not in actions:
            raise BindingError(
                f"binding {part!r} is not GESTURE=ACTION; actions are {', '.join(sorted(actions))}"
            )
        gesture = chord(gesture.split("+"))
        if gesture in bindings:
            raise BindingError(f"gesture {gesture!r} is bound twice: {text!r}")
        bindings[gesture] = action
    return bindings


def chord(buttons: Collection[str]) -> str:
    """Return the name of a chord, whatever the order of its buttons."""
    return "+".join(sorted(button.strip() for button in buttons))


class Gestures:
    """Turns the set of held buttons, looked at again and again, into gestures.

    A button without long press or chord answers when it goes down, so that a stop is at once. One
    with a long press answers `.long` once it is held long enough, or as short when it is let go
    before; one in a chord answers alone when it is let go and the chord was not complete.
    """

    def __init__(self, bindings: Mapping[str, str], long_s: float) -> None:
        """Take gesture -> action, and how long a long press is held."""
        self._bindings = dict(bindings)
        self._long_s = long_s
        chords = [set(name.split("+")) for name in bindings if "+" in name]
        self._chords = sorted(chords, key=len, reverse=True)
        self._delayed = {name.removesuffix(LONG) for name in bindings if name.endswith(LONG)}
        self._delayed |= {button for buttons in chords for button in buttons}
        self._down_s: dict[str, float] = {}
        self._used: set[str] = set()

    def update(self, held: Collection[str], now_s: float) -> tuple[str, ...]:
        """Return the actions that the buttons held at `now_s` bring about, in order."""
        done: list[str] = []
        for button in sorted(set(held) - set(self._down_s)):
            self._down_s[button] = now_s
            if button not in self._delayed:
                self._fire(button, done)
        for buttons in self._chords:
            if buttons <= set(held) - self._used:
                self._used |= buttons
                self._fire(chord(buttons), done)
        for button in sorted(set(held) - self._used):
            if now_s - self._down_s[button] >= self._long_s and button + LONG in self._bindings:
                self._used.add(button)
                self._fire(button + LONG, done)
        for button in sorted(set(self._down_s) - set(held)):
            del self._down_s[button]
            if button in self._delayed and button not in self._used:
                self._fire(button, done)
            self._used.discard(button)
        return tuple(done)

    def _fire(self, gesture: str, done: list[str]) -> None:
        if gesture in self._bindings:
            done.append(self._bindings[gesture])
