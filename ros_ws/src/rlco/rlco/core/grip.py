"""From a stream of gripper widths to the few actions that a Franka hand can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verb = Literal["move", "grasp", "stop"]


@dataclass(frozen=True, kw_only=True)
class GripAction:
    """One thing for the hand to do; `width_m` has no meaning for a stop."""

    verb: Verb
    width_m: float = 0.0


class GripPlanner:
    """Acts on a target only where it differs from the last one acted on by more than a hysteresis.

    Closing is a grasp, which keeps its force on whatever stops the fingers; opening is a move. The
    hand does one thing at a time: an action that goes the other way than the newest target is
    stopped first, one that goes the same way is let finish.
    """

    def __init__(self, *, hysteresis_m: float, max_width_m: float) -> None:
        """Take the hysteresis and the hand's largest opening."""
        self._hysteresis_m = hysteresis_m
        self._max_width_m = max_width_m
        self._wanted_m: float | None = None
        self._acted_m: float | None = None
        self._closing = False
        self._stopping = False

    def want(self, width_m: float) -> None:
        """Take the newest target (m).

        Raises:
            ValueError: if it is not a number.
        """
        if width_m != width_m:
            raise ValueError("gripper width must be a number, got nan")
        self._wanted_m = min(max(width_m, 0.0), self._max_width_m)

    def next(self, *, busy: bool, width_m: float) -> GripAction | None:
        """Return what to do now, or None; `width_m` is the measured opening."""
        wanted = self._wanted_m
        acted = width_m if self._acted_m is None else self._acted_m
        if wanted is None or abs(wanted - acted) <= self._hysteresis_m:
            return None
        closing = wanted < width_m
        if busy:
            if self._stopping or closing == self._closing:
                return None
            self._stopping = True
            self._acted_m = None  # what it was on its way to was not reached
            return GripAction(verb="stop")
        self._stopping = False
        self._acted_m, self._closing = wanted, closing
        return GripAction(verb="grasp" if closing else "move", width_m=wanted)
