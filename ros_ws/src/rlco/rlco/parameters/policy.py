"""The parameters of the policy node."""

from __future__ import annotations

from dataclasses import dataclass

from rlco_calibration.parts import Workspace

from rlco.core.scheduler import BLENDINGS
from rlco.parameters.base import ParameterError, Parameters, parameter
from rlco.parameters.bench import BenchParameters


@dataclass(frozen=True, kw_only=True)
class PolicySettings(Parameters):
    """What a bench says about policies."""

    server: str = parameter("", "URL of the policy server, e.g. http://127.0.0.1:8000.")
    api_key_file: str = parameter(
        "",
        "File with the server's key for this bench, readable by its user alone; empty: the "
        "environment variable RLCO_API_KEY, or no key.",
    )
    timeout_s: float = parameter(
        5.0, "A server that takes longer (s) to answer is down.", low=0.01, high=600.0
    )
    lead_steps: int = parameter(
        1,
        "By the wall clock, ask this many steps before the executed part of a chunk ends.",
        low=0,
        high=1000,
    )
    blending: str = parameter(
        "wait",
        "By the wall clock, how chunks follow each other: wait (one after the other), ensemble "
        "(the mean of all that cover the time), rtc (the server continues the one before).",
    )

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        super().__post_init__()
        if self.blending not in BLENDINGS:
            raise ParameterError(
                f"parameter 'blending' must be one of {BLENDINGS}, got {self.blending!r}"
            )


@dataclass(frozen=True, kw_only=True)
class PolicyParameters(PolicySettings, BenchParameters):
    """The policy node."""

    workspace_low_m: tuple[float, float, float] = parameter(
        Workspace().low_m, "Lowest TCP target (x, y, z), base frame."
    )
    workspace_high_m: tuple[float, float, float] = parameter(
        Workspace().high_m, "Highest TCP target (x, y, z), base frame."
    )
    autostart: bool = parameter(
        True, "Configure and activate by itself; false: wait for `ros2 lifecycle set`."
    )

    def __post_init__(self) -> None:
        """Check ranges, choices and what must be set."""
        super().__post_init__()
        self.require("server")
