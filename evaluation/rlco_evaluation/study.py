"""A study: the locked plan of an evaluation, written before the first trial is run.

Protocol: blind codes, a fixed list of initial conditions, every condition with every policy,
pre-declared comparisons and significance level (Kress-Gazit et al., arXiv 2409.09491; TRI LBM,
arXiv 2507.05331).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rlco_datasets import spec
from rlco_datasets.initial_condition import InitialCondition

STUDY_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Study:
    """What will be run and how it will be judged; nothing in it says which policy a code is.

    Every condition is run `trials_per_condition` times with every code. A trial is a success when
    `success_criterion` has held for `hold_s` within `time_limit_s`. `milestones` are the named
    steps of the task in the order in which they are reached. `comparisons` are the pairs of codes
    whose difference is tested, at family-wise two-sided level `alpha`. A trial that was void
    `max_attempts` times is left out. `key_commitment` binds the study to one key file
    (see `rlco_evaluation.blinding`).
    """

    name: str
    task: str
    instruction: str
    contract_id: str
    codes: tuple[str, ...]
    conditions: tuple[InitialCondition, ...]
    success_criterion: str
    time_limit_s: float
    hold_s: float
    order_seed: int
    comparisons: tuple[tuple[str, str], ...]
    trials_per_condition: int = 1
    milestones: tuple[str, ...] = ()
    alpha: float = 0.05
    max_attempts: int = 3
    key_commitment: str = ""
    version: int = STUDY_VERSION

    def __post_init__(self) -> None:
        """Check that the plan can be run and its comparisons name its codes."""
        if self.version != STUDY_VERSION:
            raise ValueError(
                f"study version {self.version} is not {STUDY_VERSION}, the one this software reads"
            )
        for field in ("name", "task", "instruction", "contract_id", "success_criterion"):
            if not getattr(self, field).strip():
                raise ValueError(f"{field} must not be empty")
        for field in ("time_limit_s", "trials_per_condition", "max_attempts"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be positive, got {getattr(self, field)}")
        if not 0 <= self.hold_s <= self.time_limit_s:
            raise ValueError(
                f"hold_s must be in [0, time_limit_s={self.time_limit_s}], got {self.hold_s}"
            )
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must be in (0, 0.5), got {self.alpha}")
        self._check_names()

    def _check_names(self) -> None:
        names = {
            "codes": self.codes,
            "conditions": tuple(condition.name for condition in self.conditions),
            "milestones": self.milestones,
        }
        for field, values in names.items():
            if len(set(values)) != len(values) or any(not value.strip() for value in values):
                raise ValueError(f"{field} must be distinct and not empty, got {list(values)}")
        if not self.codes or not self.conditions:
            raise ValueError("a study needs at least one code and one initial condition")
        for condition in self.conditions:
            if condition.task != self.task:
                raise ValueError(
                    f"condition {condition.name!r} is for task {condition.task!r}, "
                    f"this study is for {self.task!r}"
                )
        pairs = [frozenset(pair) for pair in self.comparisons]
        if len(set(pairs)) != len(pairs):
            raise ValueError(f"comparisons must be distinct, got {list(self.comparisons)}")
        for first, second in self.comparisons:
            if first == second or not {first, second} <= set(self.codes):
                raise ValueError(
                    f"comparison ({first!r}, {second!r}) must name two different codes "
                    f"of {list(self.codes)}"
                )

    @cached_property
    def id(self) -> str:
        """The content hash that ledgers and reports carry."""
        return spec.content_hash(self)

    @property
    def trial_count(self) -> int:
        """How many trials the study plans."""
        return len(self.conditions) * self.trials_per_condition * len(self.codes)
