"""The parameters of the evaluation node."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import parameter
from rlco.parameters.bench import BenchParameters


@dataclass(frozen=True, kw_only=True)
class EvalParameters(BenchParameters):
    """The evaluation node."""

    study: str = parameter("", "YAML file of the locked study.")
    ledger: str = parameter("", "JSON-lines file of its trials; continued if it is there.")
    frames: str = parameter("", "Folder for a few frames of every trial; empty: none.")
    patience_s: float = parameter(
        20.0,
        "Wait this long (s, wall clock) for the policy and its server to be ready.",
        low=0.0,
        high=86400.0,
    )
    reset_timeout_s: float = parameter(
        60.0,
        "Wait this long (s, wall clock) for the bench to lay out a scene; a person takes longer "
        "than a simulated lab.",
        low=1.0,
        high=100_000.0,
    )
    frame_count: int = parameter(6, "Frames kept of each trial.", low=1, high=1000)

    def __post_init__(self) -> None:
        """Check ranges and what must be set."""
        super().__post_init__()
        self.require("study", "ledger")
