"""What is good enough for a twin, and how a check says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Up to `good` is a pass, up to `bad` a warning, beyond a failure."""

    good: float
    bad: float

    def __post_init__(self) -> None:
        """Check the order."""
        if not 0 <= self.good <= self.bad:
            raise ValueError(f"limit: need 0 <= good <= bad, got {self.good} and {self.bad}")

    def level(self, value: float) -> Level:
        """Return the verdict on a value; what is no number fails."""
        return "pass" if value <= self.good else "warn" if value <= self.bad else "fail"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is good enough."""

    reprojection_px: Limit = Limit(good=1.0, bad=2.5)
    """Of the board's corners, by the twin's camera and the arm's poses."""
    outline_px: Limit = Limit(good=1.25, bad=2.5)
    """Of the arm's outline in the twin from the real frame's edges, median."""
    mask_missed: Limit = Limit(good=0.08, bad=0.18)
    """Share of the arm's mask, twin's and real, that the two do not have in common, median."""
    position_mm: Limit = Limit(good=3.0, bad=8.0)
    """Replayed motion of the TCP, rms."""
    rotation_deg: Limit = Limit(good=1.0, bad=3.0)
    """Replayed rotation of the TCP, rms."""
    object_mm: Limit = Limit(good=10.0, bad=25.0)
    """Where a pushed object ends, in the twin and in reality."""
    demo_position_mm: Limit = Limit(good=6.0, bad=15.0)
    """Replayed demonstrations: TCP, rms."""
    demo_rotation_deg: Limit = Limit(good=2.0, bad=5.0)
    """Replayed demonstrations: rotation of the TCP, rms."""
    gripper_s: Limit = Limit(good=0.1, bad=0.25)
    """Replayed demonstrations: when the fingers open and close, largest difference."""
    demo_object_mm: Limit = Limit(good=15.0, bad=40.0)
    """Replayed demonstrations: where the objects end, median, where the store knows it."""
    outcome_missed: Limit = Limit(good=0.2, bad=0.5)
    """Share of successful demonstrations whose replay does not solve the task."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One item of the gate."""

    name: str
    level: Level
    measured: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return one line."""
        tail = f" -> {self.remedy}" if self.level != "pass" and self.remedy else ""
        return f"{self.level.upper():4} {self.name}: {self.measured}{tail}"
