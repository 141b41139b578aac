"""The parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import ParameterError, Parameters, parameter
from rlco.parameters.bench import BenchParameters

CUES = ("none", "bell", "speech")


@dataclass(frozen=True, kw_only=True)
class RecorderSettings(Parameters):
    """What a bench says about recording."""

    reset_s: float = parameter(
        0.0,
        "Time (s, wall clock) to put the scene back after an episode; a start ends it early.",
        low=0.0,
        high=3600.0,
    )
    cues: str = parameter("none", "What the operator hears: none, bell or speech.")
    raw_bag: bool = parameter(
        False, "Also keep every message of an episode in an MCAP bag (`<store>-raw/`)."
    )
    minimum_free_mb: int = parameter(
        200, "Refuse to start an episode with less free disk space (MB).", low=0, high=10**9
    )
    buffer_mb: int = parameter(
        256,
        "Samples (MB) that may wait for the writing process; what does not fit is dropped and the "
        "episode flagged.",
        low=1,
        high=1_000_000,
    )
    episode_mb: int = parameter(
        8192,
        "Raw samples (MB) of one episode; what comes after is not recorded and the episode "
        "flagged.",
        low=1,
        high=10**9,
    )

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        super().__post_init__()
        if self.cues not in CUES:
            raise ParameterError(f"parameter 'cues' must be one of {CUES}, got {self.cues!r}")


@dataclass(frozen=True, kw_only=True)
class RecorderParameters(RecorderSettings, BenchParameters):
    """The recorder."""

    store: str = parameter("", "Folder of the episode store; made if it is not there.")
    label_topic: str = parameter(
        "",
        "Topic (PoseStamped) of what the operator meant, recorded as the action in place of what "
        "was executed; empty: the executed target.",
    )
    raw_source: str = parameter(
        "",
        "Whose own commands to keep beside what the guard let through: teleop, policy, or empty "
        "for none.",
    )
    task: str = parameter("", "Task of an episode whose start names none (a key, a console).")
    instruction: str = parameter("", "Instruction of an episode whose start names none.")
    source: str = parameter("real", "What episodes are recorded as: real or sim.")
    operator_name: str = parameter("operator", "Who demonstrates, where a start does not say.")
    session: str = parameter(
        "", "Name of the recording session; the same name goes on where the session stopped."
    )
    episodes: int = parameter(
        0,
        "Successful episodes of the session after which the recorder ends; 0: it records until it "
        "is stopped.",
        low=0,
        high=1_000_000,
    )
    autostart: bool = parameter(
        True, "Configure and activate by itself; false: wait for `ros2 lifecycle set`."
    )

    def __post_init__(self) -> None:
        """Check ranges, choices and what must be set."""
        super().__post_init__()
        self.require("store")
        if self.raw_source not in ("", "teleop", "policy"):
            raise ParameterError(
                f"parameter 'raw_source' must be teleop, policy or empty, got {self.raw_source!r}"
            )
