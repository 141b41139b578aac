"""The states of a recording, and what is allowed in each."""

from __future__ import annotations

from enum import Enum


class SessionError(RuntimeError):
    """Something was asked for that the state of the session does not allow."""


class State(Enum):
    """Where a recording stands."""

    IDLE = "idle"
    RECORDING = "recording"
    FINISHING = "finishing"
    """Stopped, waiting for its last samples or for the disk."""


class Session:
    """idle -> recording -> finishing -> idle; counts what came out."""

    def __init__(self) -> None:
        """Start idle."""
        self.state = State.IDLE
        self.committed = 0
        self.discarded = 0
        self.failed = 0

    def start(self) -> None:
        """Begin an episode.

        Raises:
            SessionError: if one is already being recorded or finished.
        """
        self._require(State.IDLE, "start", "Stop or discard the current episode first.")
        self.state = State.RECORDING

    def finish(self) -> None:
        """End the episode.

        Raises:
            SessionError: if none is being recorded.
        """
        self._require(State.RECORDING, "stop", "Start an episode first.")
        self.state = State.FINISHING

    def commit(self) -> None:
        """The episode is in the store."""
        self._leave("commit")
        self.committed += 1

    def discard(self) -> None:
        """The episode was thrown away on request."""
        self._leave("discard")
        self.discarded += 1

    def fail(self) -> None:
        """The episode could not be built or written."""
        self._leave("fail")
        self.failed += 1

    def _leave(self, what: str) -> None:
        self._require(State.FINISHING, what, "Finish the episode first.")
        self.state = State.IDLE

    def _require(self, state: State, what: str, remedy: str) -> None:
        if self.state is not state:
            raise SessionError(f"cannot {what} while {self.state.value}. {remedy}")
