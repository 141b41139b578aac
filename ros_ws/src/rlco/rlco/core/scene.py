"""A person lays out the scene of a real bench and judges the trial: what they hear, what counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.initial_condition import InitialCondition, ObjectPose
from scipy.spatial.transform import Rotation

from rlco.core.trial import NO_TIME_LEFT, NOTHING_REACHED, Scored

SUCCESS, FAILURE, DISCARD = "success", "failure", "discard"
VERDICTS = (SUCCESS, FAILURE, DISCARD)
NEAR_MARK_M = 0.01
"""An object this close to a mark is at the mark."""


class MarksError(ValueError):
    """Marks that cannot be read."""


def parse_marks(text: str) -> dict[str, tuple[float, float]]:
    """Return mark -> (x, y), m in the base frame, from text such as `1=0.40,-0.10; 2=0.50,0.00`.

    Raises:
        MarksError: naming the part that cannot be read.
    """
    marks: dict[str, tuple[float, float]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, separator, place = (word.strip() for word in part.partition("="))
        try:
            x, y = (float(number) for number in place.split(","))
        except ValueError:
            separator = ""
        if not separator or not name or name in marks or not np.isfinite([x, y]).all():
            raise MarksError(f"mark {part!r} is not NAME=X,Y (m, base frame), each name once")
        marks[name] = (x, y)
    return marks


def instructions(
    condition: InitialCondition, marks: dict[str, tuple[float, float]]
) -> tuple[str, ...]:
    """Return what to do, one thing a line, so that the scene is as `condition` says."""
    lines = [_place(item, marks) for item in condition.objects]
    if condition.drawer_open > 0:
        lines.append(f"open the drawer by {condition.drawer_open:.0%} of its travel")
    x, y, z = condition.tcp_position_m
    lines.append(f"move the open gripper to x {x:.3f}, y {y:.3f}, z {z:.3f} m, tool down")
    return tuple(lines)


def _place(item: ObjectPose, marks: dict[str, tuple[float, float]]) -> str:
    x, y, _ = item.position_m
    where = f"x {x:.3f}, y {y:.3f} m"
    distance_m = {
        name: float(np.hypot(x - place[0], y - place[1])) for name, place in marks.items()
    }
    if distance_m and min(distance_m.values()) <= NEAR_MARK_M:
        where = f"mark {min(distance_m, key=distance_m.__getitem__)} ({where})"
    yaw_deg = np.rad2deg(Rotation.from_matrix(item.T_base_object[:3, :3]).as_euler("xyz")[2])
    turned = f", turned {yaw_deg:+.0f} deg" if abs(yaw_deg) >= 1 else ""
    return f"put the {item.name} at {where}{turned}"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How a trial stands: `scored`, or why it says nothing; and what the operator remarked."""

    scored: Scored | None
    message: str = ""


class OperatedScene:
    """One scene after the other: laid out by a person, judged by a person."""

    def __init__(self, *, period_ns: int, tolerance_m: float) -> None:
        """Take the control period, and how far the TCP may be from where a trial begins."""
        self._period_ns = period_ns
        self._tolerance_m = tolerance_m
        self._condition: InitialCondition | None = None
        self._start_ns: int | None = None
        self._verdict: tuple[str, int] | None = None
        self._milestone = ""
        self._notes: list[str] = []

    @property
    def resetting(self) -> bool:
        """Whether the scene waits for the operator."""
        return self._condition is not None and self._start_ns is None

    @property
    def start_ns(self) -> int | None:
        """When the present trial's scene was ready; None before."""
        return self._start_ns

    def lay_out(self, condition: InitialCondition) -> None:
        """Begin a new scene; what was said about the one before is over."""
        self._condition, self._start_ns, self._verdict = condition, None, None
        self._milestone, self._notes = "", []

    def give_up(self) -> None:
        """Nobody laid the scene out."""
        self._condition = None

    def ready(self, T_base_tcp: NDArray[np.float64] | None, now_ns: int) -> str:
        """Take the operator's word that the scene is ready; return why it is not, or ""."""
        if not self.resetting or self._condition is None:
            return "no scene is waiting to be laid out"
        if T_base_tcp is None:
            return "the arm's pose was not heard; is its driver running?"
        off_m = float(np.linalg.norm(T_base_tcp[:3, 3] - self._condition.tcp_position_m))
        if off_m > self._tolerance_m:
            return (
                f"the gripper stands {off_m:.3f} m from where the trial begins, more than "
                f"arm_tolerance_m {self._tolerance_m:g}; move it there"
            )
        self._start_ns = now_ns
        return ""

    def judge(self, verdict: str, now_ns: int) -> str:
        """Take the operator's verdict, the last one counts; return why it is not taken, or ""."""
        if verdict not in VERDICTS:
            return f"the verdict must be one of {VERDICTS}, got {verdict!r}"
        if self._start_ns is None:
            return "no trial is under way"
        self._verdict = (verdict, now_ns)
        return ""

    def reached(self, milestone: str) -> None:
        """Take the furthest milestone so far."""
        self._milestone = milestone.strip()

    def note(self, text: str) -> None:
        """Take a remark about the trial."""
        if text.strip():
            self._notes.append(text.strip())

    def score(self, now_ns: int) -> Judged:
        """Return how the trial stands."""
        notes = "; ".join(self._notes)
        if self._start_ns is None:
            return Judged(scored=None, message="no scene has been laid out yet")
        verdict, at_ns = self._verdict or ("", now_ns)
        if verdict == DISCARD:
            why = f": {notes}" if notes else ""
            return Judged(scored=None, message=f"the operator discards the trial{why}")
        steps = max(0, round((at_ns - self._start_ns) / self._period_ns))
        scored = Scored(
            success=verdict == SUCCESS,
            milestone=SUCCESS if verdict == SUCCESS else self._milestone or NOTHING_REACHED,
            steps=NO_TIME_LEFT if verdict == FAILURE else steps,
        )
        return Judged(scored=scored, message=notes)
