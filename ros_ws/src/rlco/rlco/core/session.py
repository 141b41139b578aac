"""The states of a recording session, and what is allowed in each."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class SessionError(RuntimeError):
    """Something was asked for that the state of the session does not allow."""


class State(Enum):
    """Where a session stands."""

    INACTIVE = "inactive"
    """The recorder is not active (ROS lifecycle)."""
    IDLE = "idle"
    RECORDING = "recording"
    FINISHING = "finishing"
    """Stopped, waiting for its last samples or for the disk."""
    RESETTING = "resetting"
    """The scene is put back; a start ends this phase early."""
    COMPLETE = "complete"
    """The session has all its episodes."""


class Session:
    """idle -> recording -> finishing -> (resetting ->) idle; counts what came out.

    A session that wants a number of episodes is complete when so many successes are in the store.
    """

    def __init__(
        self,
        clock_s: Callable[[], float],
        *,
        reset_s: float = 0.0,
        wanted: int = 0,
        committed: int = 0,
    ) -> None:
        """Begin inactive; `committed` successes of the session are in the store already."""
        self._clock_s = clock_s
        self._reset_s = reset_s
        self.wanted = wanted
        self.committed = committed
        self.discarded = 0
        self.failed = 0
        self.again = False
        """Whether the next episode repeats the last one (redo)."""
        self.state = State.INACTIVE
        self._since_s = clock_s()

    @property
    def elapsed_s(self) -> float:
        """How long the state has lasted."""
        return self._clock_s() - self._since_s

    @property
    def remaining_s(self) -> float:
        """How long the reset phase still lasts."""
        return max(0.0, self._reset_s - self.elapsed_s) if self.state is State.RESETTING else 0.0

    def activate(self) -> None:
        """Become ready for episodes."""
        if self.state is State.INACTIVE:
            self._go(self._rest())

    def deactivate(self) -> None:
        """Refuse episodes; one that is being recorded is dropped."""
        self._go(State.INACTIVE)

    def start(self) -> None:
        """Begin an episode; a reset phase ends early.

        Raises:
            SessionError: if one is already being recorded or finished, or none is wanted.
        """
        if self.state is State.INACTIVE:
            raise SessionError("the recorder is not active. Activate it (`ros2 lifecycle set`).")
        if self.state is State.COMPLETE:
            raise SessionError(
                f"the session has its {self.wanted} episodes. Begin another one (parameter "
                "session), or ask for more (parameter episodes)."
            )
        if self.state is not State.RESETTING:
            self._require(State.IDLE, "start", "Stop or discard the current episode first.")
        self.again = False
        self._go(State.RECORDING)

    def finish(self) -> None:
        """End the episode.

        Raises:
            SessionError: if none is being recorded.
        """
        self._require(State.RECORDING, "stop", "Start an episode first.")
        self._go(State.FINISHING)

    def commit(self, *, success: bool) -> None:
        """The episode is in the store."""
        self._leave("commit")
        self.committed += success
        self._rest_after_episode()

    def discard(self, *, again: bool = False) -> None:
        """The episode was thrown away on request; `again`: it is to be recorded once more."""
        self._leave("discard")
        self.discarded += 1
        self.again = again
        self._rest_after_episode()

    def fail(self) -> None:
        """The episode could not be built or written."""
        self._leave("fail")
        self.failed += 1
        self._rest_after_episode()

    def tick(self) -> bool:
        """Let time pass; return whether a reset phase has just ended."""
        over = self.state is State.RESETTING and self.elapsed_s >= self._reset_s
        if over:
            self._go(State.IDLE)
        return over

    def _rest(self) -> State:
        complete = self.wanted and self.committed >= self.wanted
        return State.COMPLETE if complete else State.IDLE

    def _rest_after_episode(self) -> None:
        state = self._rest()
        self._go(State.RESETTING if state is State.IDLE and self._reset_s > 0 else state)

    def _go(self, state: State) -> None:
        self.state = state
        self._since_s = self._clock_s()

    def _leave(self, what: str) -> None:
        self._require(State.FINISHING, what, "Finish the episode first.")

    def _require(self, state: State, what: str, remedy: str) -> None:
        if self.state is not state:
            raise SessionError(f"cannot {what} while {self.state.value}. {remedy}")
