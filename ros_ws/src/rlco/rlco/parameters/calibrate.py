"""The parameters of the calibration node."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import ParameterError, parameter
from rlco.parameters.bench import BenchParameters

COLLECTED = (
    "captures",
    "touches",
    "objects",
    "marks",
    "appearance",
    "drawer",
    "slides",
    "motions",
    "pushes",
)


@dataclass(frozen=True, kw_only=True)
class CalibrateParameters(BenchParameters):
    """The calibration node."""

    folder: str = parameter("", "Folder of the calibration; what is in it is not collected again.")
    bench: str = parameter("", "YAML file of the twin to start from: rough poses, the workspace.")
    steps: str = parameter(
        "captures,touches,motions,pushes",
        "What to collect, separated by commas: captures, touches, motions, pushes; objects and "
        "marks, pictures to click in later; appearance, pictures for colours and lights; or drawer "
        "and slides alone (touches and pushes of the drawer), for which the drawer is set up.",
    )
    captures: int = parameter(30, "Poses of the board to capture, per camera.", low=8, high=500)

    def __post_init__(self) -> None:
        """Check ranges and what must be set."""
        super().__post_init__()
        self.require("folder", "bench")
        unknown = sorted(set(self.wanted) - set(COLLECTED))
        if unknown:
            raise ParameterError(
                f"parameter 'steps' has {unknown[0]!r}; it may have {', '.join(COLLECTED)}"
            )

    @property
    def wanted(self) -> tuple[str, ...]:
        """What to collect."""
        return tuple(step.strip() for step in self.steps.split(",") if step.strip())
