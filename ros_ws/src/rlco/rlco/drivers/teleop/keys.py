"""Which keys move the arm, for every keyboard."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

AXES = {
    **{"w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1)},
    **{"up": (0, 1), "down": (0, -1), "left": (1, 1), "right": (1, -1)},
    **{"l": (3, 1), "j": (3, -1), "i": (4, 1), "k": (4, -1), "u": (5, 1), "o": (5, -1)},
}
"""Key -> (axis, sign): forward, left, up, and turns about these."""

BINDINGS = (
    "space=gripper, c=clutch, plus=faster, minus=slower, enter=start, y=success, n=failure, "
    "backspace=discard, b=redo, p=resume, esc=stop, tab=estop"
)

NAMES = {
    **{" ": "space", "\r": "enter", "\n": "enter", "\t": "tab", "\x1b": "esc"},
    **{"\x7f": "backspace", "\b": "backspace", "+": "plus", "-": "minus", "=": "equals"},
    **{",": "comma", ".": "period"},
}
"""What a binding calls a key that is not a plain letter or digit."""


def axes(held: Collection[str]) -> NDArray[np.float64]:
    """Return the axes `(6,)` in [-1, 1] of the keys that are held; opposite keys cancel."""
    result = np.zeros(6)
    for name in set(held) & set(AXES):
        axis, sign = AXES[name]
        result[axis] += sign
    return np.clip(result, -1.0, 1.0)
