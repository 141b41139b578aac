"""What every node that speaks to a bench has as parameters."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import Parameters, parameter


@dataclass(frozen=True, kw_only=True)
class BenchParameters(Parameters):
    """What every node that speaks to a bench needs to know."""

    contract: str = parameter("franka_compact", "Name of a built-in contract, or its YAML file.")
    lock_step: bool = parameter(
        True,
        "True where the lab waits for a command at each step (reliable QoS); false on a bench that "
        "runs by the wall clock (best effort, as franka_ros2 publishes).",
    )
    silence_s: float = parameter(
        2.0, "A topic not heard for this long (s, wall clock) is silent.", low=0.05, high=600.0
    )
