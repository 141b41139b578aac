"""Which topics are silent, by the wall clock and not by stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class TopicMonitor:
    """Remembers when each topic was last heard.

    Repetitions count: a paused lab repeats its observation, and that is not silence.
    """

    def __init__(
        self, topics: Iterable[str], *, timeout_s: float, clock_s: Callable[[], float]
    ) -> None:
        """Watch `topics`; one is silent when `timeout_s` went by on `clock_s` without it."""
        self._timeout_s = timeout_s
        self._clock_s = clock_s
        self._heard_s: dict[str, float | None] = dict.fromkeys(topics)

    def heard(self, topic: str) -> None:
        """Note that `topic` was heard now."""
        self._heard_s[topic] = self._clock_s()

    def silent(self) -> dict[str, float | None]:
        """Return the silent topics and for how long (s) each has been silent; None = always."""
        now_s = self._clock_s()
        return {
            topic: None if heard_s is None else now_s - heard_s
            for topic, heard_s in self._heard_s.items()
            if heard_s is None or now_s - heard_s > self._timeout_s
        }

    def complaint(self) -> str:
        """Return a sentence that names every silent topic, or "" if there is none."""
        silent = self.silent()
        if not silent:
            return ""
        told = ", ".join(
            f"{topic} ({'never heard' if age_s is None else f'last heard {age_s:.1f} s ago'})"
            for topic, age_s in silent.items()
        )
        return (
            f"silent topics: {told}. Check that the drivers run, that names and namespace match "
            "(`ros2 topic list`), and that ROS_DOMAIN_ID is the same everywhere."
        )
