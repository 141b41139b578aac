"""The parameters of the scripted operator."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import parameter
from rlco.parameters.bench import BenchParameters


@dataclass(frozen=True, kw_only=True)
class OperatorParameters(BenchParameters):
    """The scripted operator."""

    bench: str = parameter("", "YAML file of the training twin; start states are drawn from it.")
    task: str = parameter("pick_and_place", "Task to demonstrate.")
    episodes: int = parameter(
        20, "Successful episodes to commit, then exit.", low=1, high=1_000_000
    )
    seed: int = parameter(0, "Seed of the start states and the operator's noise.")
    noise: float = parameter(
        0.0,
        "Standard deviation of the noise on each executed step, as a share of the step limit.",
        low=0.0,
        high=1.0,
    )
    label_topic: str = parameter(
        "", "Topic on which to publish what was meant, without the noise; empty: do not."
    )
    source: str = parameter("real", "What the episodes are recorded as: real or sim.")
    max_steps: int = parameter(80, "Give up an episode after this many steps.", low=1, high=100_000)
    max_failures: int = parameter(
        50, "Give up after this many failed episodes.", low=0, high=1_000_000
    )

    def __post_init__(self) -> None:
        """Check ranges and what must be set."""
        super().__post_init__()
        self.require("bench", "task", "episodes")
