"""The parameters of the replay node."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import parameter
from rlco.parameters.bench import BenchParameters


@dataclass(frozen=True, kw_only=True)
class ReplayParameters(BenchParameters):
    """The replay node."""

    store: str = parameter("", "Folder of the episode store.")
    episode: int = parameter(0, "Index of the episode to play.", low=0, high=10**9)
    speed: float = parameter(
        1.0, "By the wall clock: 0.5 plays at half the speed.", low=0.05, high=2.0
    )
    start_tolerance_m: float = parameter(
        0.05,
        "Refuse to play when the arm stands further than this (m) from where the episode begins.",
        low=0.001,
        high=1.0,
    )

    def __post_init__(self) -> None:
        """Check ranges and what must be set."""
        super().__post_init__()
        self.require("store")
