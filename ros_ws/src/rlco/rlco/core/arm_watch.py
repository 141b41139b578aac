"""The arm driver's own watchdog: the last one before the robot, whatever became of the guard."""

from __future__ import annotations

from collections.abc import Callable


class ArmWatch:
    """Decides whether the arm may follow set-points, and latches once it may not.

    The latch opens at the next hand-over of a guard that is not stopped: a person's word, not the
    mere return of what was missing.
    """

    def __init__(
        self,
        *,
        command_timeout_s: float,
        guard_timeout_s: float,
        clock_s: Callable[[], float],
    ) -> None:
        """Take how long set-points and the guard may be silent."""
        self._command_timeout_s = command_timeout_s
        self._guard_timeout_s = guard_timeout_s
        self._clock_s = clock_s
        self._guard_s: float | None = None
        self._command_s: float | None = None
        self._handed_over_ns = 0
        self.open = False
        """Whether the guard lets anybody drive; if not, the arm is to rest."""
        self.reason = ""

    @property
    def held(self) -> bool:
        """Whether the arm is held until the next hand-over."""
        return bool(self.reason)

    def hold(self, reason: str) -> None:
        """Hold the arm, for the first reason given."""
        self.reason = self.reason or reason
        self._command_s = None

    def hear_guard(self, source: str, *, stopped: bool, reason: str, handed_over_ns: int) -> None:
        """Take the guard's state; `reason` is empty only while the source may drive."""
        self._guard_s = self._clock_s()
        if handed_over_ns != self._handed_over_ns and not stopped:
            self._handed_over_ns = handed_over_ns
            self._command_s = None
            self.reason = ""
        self.open = source != "none" and not reason
        if stopped:
            self.hold(f"the guard has stopped: {reason}")
        elif not self.open:
            self._command_s = None

    def follow(self) -> bool:
        """Whether a set-point that came now is to be followed; notes it if so."""
        if self._guard_s is None or not self.open or self.held:
            return False
        self._command_s = self._clock_s()
        return True

    def check(self) -> str:
        """Return why the arm must be held now if that is new, else ""."""
        if self._command_s is None or self.held:
            return ""
        assert self._guard_s is not None
        now_s = self._clock_s()
        for what, since_s, limit_s in (
            ("guard/state was not heard", now_s - self._guard_s, self._guard_timeout_s),
            ("no set-point came", now_s - self._command_s, self._command_timeout_s),
        ):
            if since_s > limit_s:
                self.hold(f"{what} for {since_s:.3f} s")
                return self.reason
        return ""
