"""The parameters of the simulated lab."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import Parameters, parameter


@dataclass(frozen=True, kw_only=True)
class SimLabParameters(Parameters):
    """The simulated lab."""

    twin: str = parameter("", "YAML file of the lab's own twin; may be a hidden one.")
    task: str = parameter("pick_and_place", "Task whose scene is set up.")
    contract: str = parameter("franka_compact", "Name of a built-in contract, or its YAML file.")
    lock_step: bool = parameter(
        True, "True: advance one period per command. False: advance by the wall clock."
    )
    repeat_s: float = parameter(
        0.3,
        "In lock step, repeat the observation after this long (s, wall clock) without a command.",
        low=0.01,
        high=60.0,
    )
    image_every: int = parameter(
        1,
        "In lock step, render only at every n-th step after a reset, for policies that look once a "
        "chunk; a repeated observation always has images.",
        low=1,
        high=100_000,
    )
    seed: int = parameter(0, "Seed of the sensor noise.")

    def __post_init__(self) -> None:
        """Check ranges and what must be set."""
        super().__post_init__()
        self.require("twin", "task", "contract")
