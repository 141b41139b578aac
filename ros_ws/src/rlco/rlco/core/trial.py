"""What is decided about one evaluated trial."""

from __future__ import annotations

from dataclasses import dataclass

from rlco_datasets.contract import Contract
from rlco_evaluation.schedule import Trial
from rlco_evaluation.study import Study

NOTHING_REACHED = "start"
NO_TIME_LEFT = 2**32 - 1
"""As the number of steps: it can no longer be a success."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the bench said at one time; `steps` until success, or until then."""

    success: bool
    milestone: str
    steps: int


class TrialClock:
    """Time limit and verdict of one trial, in control periods since its start."""

    def __init__(self, study: Study, contract: Contract, start_ns: int) -> None:
        """Take the study's limit and the stamp of the trial's first observation."""
        self._start_ns = start_ns
        self._period_ns = contract.period_ns
        self.limit_steps = round(study.time_limit_s * contract.control_rate_hz)
        self._last = Scored(success=False, milestone="", steps=0)

    def over(self, stamp_ns: int) -> bool:
        """Tell whether the time limit has been reached at `stamp_ns`."""
        return stamp_ns - self._start_ns >= self.limit_steps * self._period_ns

    def add(self, scored: Scored) -> bool:
        """Take in a score; return whether the trial is decided.

        What happened after the limit, before the policy could be stopped, does not count. A bench
        that knows of a failure before the limit says `NO_TIME_LEFT`.
        """
        if scored.steps > self.limit_steps:
            known = self._last.milestone if scored.steps < NO_TIME_LEFT else scored.milestone
            self._last = Scored(success=False, milestone=known, steps=self.limit_steps)
            return scored.steps >= NO_TIME_LEFT
        self._last = scored
        return scored.success

    @property
    def verdict(self) -> Scored:
        """The last score that counts; the milestone is "" where none was reached."""
        milestone = "" if self._last.milestone == NOTHING_REACHED else self._last.milestone
        return Scored(success=self._last.success, milestone=milestone, steps=self._last.steps)


def folder_name(trial: Trial, attempt: int) -> str:
    """Return the name of a trial's folder of frames; it sorts by trial."""
    return f"{trial.index:04d}-{trial.code}-{attempt}"


def evenly(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` indices spread over `count` items, first and last included."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [count - 1]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]
