"""The parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import parameter
from rlco.parameters.bench import BenchParameters


@dataclass(frozen=True, kw_only=True)
class RecorderParameters(BenchParameters):
    """The recorder."""

    store: str = parameter("", "Folder of the episode store; made if it is not there.")
    label_topic: str = parameter(
        "",
        "Topic (PoseStamped) of what the operator meant, recorded as the action in place of what "
        "was executed; empty: the executed target.",
    )
    minimum_free_mb: int = parameter(
        200, "Refuse to start an episode with less free disk space (MB).", low=0, high=10**9
    )

    def __post_init__(self) -> None:
        """Check ranges and what must be set."""
        super().__post_init__()
        self.require("store")
