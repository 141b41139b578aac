"""The parameters of the scene node."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.core.scene import MarksError, parse_marks
from rlco.parameters.base import ParameterError, Parameters, parameter
from rlco.parameters.bench import BenchParameters
from rlco.parameters.recorder import CUES


@dataclass(frozen=True, kw_only=True)
class SceneSettings(Parameters):
    """What a bench says about laying out scenes and judging trials by hand."""

    reset_s: float = parameter(
        30.0,
        "Remind the operator when laying out the scene takes longer than this (s), and again.",
        low=1.0,
        high=3600.0,
    )
    give_up_s: float = parameter(
        900.0,
        "Give a trial up whose scene nobody laid out for this long (s).",
        low=1.0,
        high=86400.0,
    )
    arm_tolerance_m: float = parameter(
        0.03, "How far (m) the TCP may be from where a trial begins.", low=0.001, high=0.5
    )
    marks: str = parameter(
        "", "Marks on the table, m in the base frame, such as `1=0.40,-0.10; 2=0.50,0.00`."
    )
    cues: str = parameter("bell", "What the operator hears: none, bell or speech.")

    def __post_init__(self) -> None:
        """Check ranges, choices and marks."""
        super().__post_init__()
        if self.cues not in CUES:
            raise ParameterError(f"parameter 'cues' must be one of {CUES}, got {self.cues!r}")
        try:
            parse_marks(self.marks)
        except MarksError as error:
            raise ParameterError(f"parameter 'marks': {error}") from error


@dataclass(frozen=True, kw_only=True)
class SceneParameters(SceneSettings, BenchParameters):
    """The scene node."""
