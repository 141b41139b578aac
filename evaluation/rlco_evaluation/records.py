"""What one line of a trial ledger says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

NO_MILESTONE = ("", "start")


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One attempt at one planned trial: `done` with an outcome, or `void` with a reason.

    `index`, `condition` and `code` are the planned trial's; `attempt` counts from 1 and is filled
    in by the ledger if None. `success` is None for a void trial. `milestone` is the furthest one
    reached ("" or "start" for none), `steps` the control steps that were executed,
    `interventions` how often a person stepped in, `failure` a short code of what went wrong,
    `policy_id` what the policy server said it runs, `frames` a folder of pictures of the trial
    (relative to the ledger's folder), `utc` when it ended (ISO 8601; filled in by the ledger
    if "").
    """

    index: int
    condition: str
    code: str
    status: Literal["done", "void"]
    success: bool | None = None
    attempt: int | None = None
    reason: str = ""
    milestone: str = ""
    failure: str = ""
    steps: int = 0
    duration_s: float = 0.0
    interventions: int = 0
    notes: str = ""
    policy_id: str = ""
    frames: str = ""
    utc: str = ""

    def __post_init__(self) -> None:
        """Check that the outcome fits the status and the numbers are possible."""
        if self.status not in ("done", "void"):
            raise ValueError(f"status must be done or void, got {self.status!r}")
        if self.status == "done" and not isinstance(self.success, bool):
            raise ValueError(f"a done trial needs success true or false, got {self.success!r}")
        if self.status == "void" and (self.success is not None or not self.reason.strip()):
            raise ValueError("a void trial has no success, and must give its reason")
        if min(self.index, self.steps, self.interventions) < 0:
            raise ValueError(
                f"index, steps and interventions must not be negative, got {self.index}, "
                f"{self.steps}, {self.interventions}"
            )
        if self.attempt is not None and self.attempt < 1:
            raise ValueError(f"attempt counts from 1, got {self.attempt}")
        if not (math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise ValueError(f"duration_s must be finite and not negative, got {self.duration_s}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to the ledger itself.

    `begin`: a trial was started (`index`); `recovered`: a torn line was removed on opening;
    `unblind`: the key was applied; `note`: free text.
    """

    what: Literal["begin", "recovered", "unblind", "note"]
    text: str
    who: str = ""
    index: int | None = None
    utc: str = ""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line: whose ledger this is."""

    study_id: str
    study_name: str
    contract_id: str
    software_version: str
    created_utc: str
    version: int = 1
