"""The parameters of every node: names, defaults and descriptions.

The nodes declare them from here and the graphs of `rlco.bringup` set them, so that a graph cannot
set what a node does not have. No ROS is needed to read this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlco_calibration.twin import Workspace
from rlco_datasets.contract import BUILT_IN, Contract, load_contract


class ParameterError(ValueError):
    """A node's parameter is missing or impossible."""


def parameter(default: Any, description: str) -> Any:
    """Return a dataclass field with its description."""
    return field(default=default, metadata={"description": description})


def contract_named(name: str) -> Contract:
    """Return a built-in contract by its name, or one from a YAML file by its path.

    Raises:
        ParameterError: if it is neither.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if not name.endswith((".yaml", ".yml")):
        raise ParameterError(
            f"contract {name!r} is neither one of {sorted(BUILT_IN)} nor the path of a .yaml file"
        )
    return load_contract(name)


def _require(owner: object, *names: str) -> None:
    for name in names:
        if not getattr(owner, name):
            raise ParameterError(f"parameter {name!r} must be set: {describe(type(owner))[name]}")


def describe(kind: type) -> dict[str, str]:
    """Return the description of every parameter of a node."""
    return {name: item.metadata["description"] for name, item in _fields(kind).items()}


def defaults(kind: type) -> dict[str, Any]:
    """Return the default of every parameter of a node."""
    return {name: item.default for name, item in _fields(kind).items()}


def _fields(kind: type) -> dict[str, Any]:
    return dict(kind.__dataclass_fields__)  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class BenchParameters:
    """What every node that speaks to a bench needs to know."""

    contract: str = parameter("franka_compact", "Name of a built-in contract, or its YAML file.")
    lock_step: bool = parameter(
        True,
        "True where the lab waits for a command at each step (reliable QoS); false on a bench that "
        "runs by the wall clock (best effort, as franka_ros2 publishes).",
    )
    silence_s: float = parameter(2.0, "A topic not heard for this long (wall clock) is silent.")


@dataclass(frozen=True, kw_only=True)
class SimLabParameters:
    """The simulated lab."""

    twin: str = parameter("", "YAML file of the lab's own twin; may be a hidden one.")
    task: str = parameter("pick_and_place", "Task whose scene is set up.")
    contract: str = parameter("franka_compact", "Name of a built-in contract, or its YAML file.")
    lock_step: bool = parameter(
        True, "True: advance one period per command. False: advance by the wall clock."
    )
    repeat_s: float = parameter(
        0.3, "In lock step, repeat the observation after this long without a command (wall clock)."
    )
    image_every: int = parameter(
        1,
        "In lock step, render only at every n-th step after a reset, for policies that look once a "
        "chunk; a repeated observation always has images.",
    )
    seed: int = parameter(0, "Seed of the sensor noise.")

    def __post_init__(self) -> None:
        """Check what must be set."""
        _require(self, "twin", "task", "contract", "image_every")


@dataclass(frozen=True, kw_only=True)
class RecorderParameters(BenchParameters):
    """The recorder."""

    store: str = parameter("", "Folder of the episode store; made if it is not there.")
    label_topic: str = parameter(
        "",
        "Topic (PoseStamped) of what the operator meant, recorded as the action in place of what "
        "was executed; empty: the executed target.",
    )
    minimum_free_mb: int = parameter(200, "Refuse to start an episode with less free disk space.")

    def __post_init__(self) -> None:
        """Check what must be set."""
        _require(self, "store")


@dataclass(frozen=True, kw_only=True)
class OperatorParameters(BenchParameters):
    """The scripted operator."""

    bench: str = parameter("", "YAML file of the training twin; start states are drawn from it.")
    task: str = parameter("pick_and_place", "Task to demonstrate.")
    episodes: int = parameter(20, "Successful episodes to commit, then exit.")
    seed: int = parameter(0, "Seed of the start states and the operator's noise.")
    noise: float = parameter(
        0.0, "Standard deviation of the noise on each executed step, as a share of the step limit."
    )
    label_topic: str = parameter(
        "", "Topic on which to publish what was meant, without the noise; empty: do not."
    )
    source: str = parameter("real", "What the episodes are recorded as: real or sim.")
    max_steps: int = parameter(80, "Give up an episode after this many steps.")
    max_failures: int = parameter(50, "Give up after this many failed episodes.")

    def __post_init__(self) -> None:
        """Check what must be set."""
        _require(self, "bench", "task", "episodes")


@dataclass(frozen=True, kw_only=True)
class PolicyParameters(BenchParameters):
    """The policy node."""

    server: str = parameter("", "URL of the policy server, e.g. http://127.0.0.1:8000.")
    timeout_s: float = parameter(5.0, "A server that takes longer to answer is down.")
    lead_steps: int = parameter(
        1, "By the wall clock, ask this many steps before the executed part of a chunk ends."
    )
    workspace_low_m: tuple[float, float, float] = parameter(
        Workspace().low_m, "Lowest TCP target (x, y, z), base frame."
    )
    workspace_high_m: tuple[float, float, float] = parameter(
        Workspace().high_m, "Highest TCP target (x, y, z), base frame."
    )

    def __post_init__(self) -> None:
        """Check what must be set."""
        _require(self, "server")


@dataclass(frozen=True, kw_only=True)
class EvalParameters(BenchParameters):
    """The evaluation node."""

    study: str = parameter("", "YAML file of the locked study.")
    ledger: str = parameter("", "JSON-lines file of its trials; continued if it is there.")
    frames: str = parameter("", "Folder for a few frames of every trial; empty: none.")
    patience_s: float = parameter(
        20.0, "Wait this long (wall clock) for the policy and its server to be ready."
    )
    frame_count: int = parameter(6, "Frames kept of each trial.")

    def __post_init__(self) -> None:
        """Check what must be set."""
        _require(self, "study", "ledger")
