"""One recorded episode and what is known about it, with the checks a recording must pass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlco_datasets.contract import ACTION_DIM, Contract
from rlco_datasets.initial_condition import InitialCondition

LIMIT_TOLERANCE = 1e-6
"""How far a float32 action may pass its limit by rounding (m, rad, gripper fraction)."""
STEP_STREAM = "step"
"""The stamp stream that every episode has: when each action was commanded."""
_STREAM_NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*")


class EpisodeError(ValueError):
    """An episode does not hold what its contract says; nothing of it was written."""


@dataclass(frozen=True, kw_only=True)
class EpisodeMetadata:
    """Where an episode came from and how it ended."""

    source: Literal["real", "sim"]
    task: str
    instruction: str
    operator: str
    outcome: Literal["success", "failure"]
    contract_id: str
    software_version: str
    created_utc: str
    """ISO 8601 with the offset, as `datetime.now(UTC).isoformat()` gives it."""
    twin_id: str = ""
    """The twin that a sim episode was made in; empty for a real one."""
    seed: int | None = None
    flags: tuple[str, ...] = ()
    """What the recorder noticed, for example `rate_missed`."""
    initial_condition: InitialCondition | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what must not be empty, the literals, and that the time has an offset."""
        for name in ("task", "instruction", "operator", "contract_id", "software_version"):
            if not getattr(self, name).strip():
                raise ValueError(f"episode metadata: {name} must not be empty")
        if self.source not in ("real", "sim"):
            raise ValueError(f"episode metadata: source must be real or sim, got {self.source!r}")
        if self.outcome not in ("success", "failure"):
            raise ValueError(
                f"episode metadata: outcome must be success or failure, got {self.outcome!r}"
            )
        if datetime.fromisoformat(self.created_utc).utcoffset() is None:
            raise ValueError(
                f"episode metadata: created_utc {self.created_utc!r} has no UTC offset; "
                "use datetime.now(UTC).isoformat()"
            )


@dataclass(frozen=True, kw_only=True)
class Episode:
    """T synchronous steps: what was seen, and what was then commanded."""

    metadata: EpisodeMetadata
    images: dict[str, NDArray[np.uint8]]
    """Camera name -> `(T, H, W, 3)` uint8 RGB, as `policy_image` returns it."""
    state: NDArray[np.float32]
    """`(T, S)` float32, laid out as the contract's `state_layout`."""
    actions: NDArray[np.float32]
    """`(T, 7)` float32, base frame, m / rad / gripper opening, as the guard let them through."""
    stamps_ns: dict[str, NDArray[np.int64]]
    """Stream -> `(T,)` int64 capture times; `step` always, then `camera/<name>`, `state`, ..."""
    extras: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Name -> `(T, ...)` numeric array of anything else worth keeping."""

    def __len__(self) -> int:
        return len(self.actions)


def check_episode(episode: Episode, contract: Contract) -> None:
    """Refuse an episode that its contract does not describe.

    Raises:
        EpisodeError: naming the array, the step and the offending value.
    """
    if episode.metadata.contract_id != contract.id:
        raise EpisodeError(
            f"episode was recorded under contract {episode.metadata.contract_id!r}, the store "
            f"holds {contract.name!r} ({contract.id}). Record into a store of the same contract."
        )
    steps = len(episode.actions)
    if steps == 0:
        raise EpisodeError("episode has no steps; discard it instead of saving it")
    if set(episode.images) != set(contract.camera_names):
        raise EpisodeError(
            f"episode has images of cameras {sorted(episode.images)}, the contract asks for "
            f"{sorted(contract.camera_names)}"
        )
    for camera in contract.cameras:
        shape = (steps, camera.height, camera.width, 3)
        _check_array(f"images[{camera.name!r}]", episode.images[camera.name], np.uint8, shape)
    _check_array("state", episode.state, np.float32, (steps, contract.state_dim))
    _check_array("actions", episode.actions, np.float32, (steps, ACTION_DIM))
    _check_actions(episode.actions, contract)
    _check_stamps(episode.stamps_ns, steps)
    for name, values in episode.extras.items():
        if not name.isidentifier():
            raise EpisodeError(f"extras: name {name!r} must be an identifier")
        if values.dtype.kind not in "biuf":
            raise EpisodeError(f"extras[{name!r}] is {values.dtype}; only numbers can be stored")
        _check_array(f"extras[{name!r}]", values, values.dtype, (steps, *values.shape[1:]))


def _check_array(name: str, values: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if values.dtype != np.dtype(dtype) or values.shape != shape:
        raise EpisodeError(
            f"{name} is {values.dtype} {values.shape}, expected {np.dtype(dtype)} {shape}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise EpisodeError(
            f"{name} is {values[place]} at step {place[0]}, index {place[1:]}; every value must be "
            "finite. Check the driver or the policy that produced it, and record again."
        )


def _check_actions(actions: NDArray[np.float32], contract: Contract) -> None:
    limits = (
        ("translation", np.linalg.norm(actions[:, :3], axis=1), contract.max_translation_m, "m"),
        ("rotation", np.linalg.norm(actions[:, 3:6], axis=1), contract.max_rotation_rad, "rad"),
    )
    for what, size, limit, unit in limits:
        worst = int(np.argmax(size))
        if size[worst] > limit + LIMIT_TOLERANCE:
            raise EpisodeError(
                f"actions: {what} at step {worst} is {size[worst]:.6g} {unit}, the contract allows "
                f"{limit} {unit} a step. Record what the guard let through, not what was asked for."
            )
    gripper = actions[:, 6]
    worst = int(np.argmax(np.abs(gripper - 0.5)))
    if abs(gripper[worst] - 0.5) > 0.5 + LIMIT_TOLERANCE:
        raise EpisodeError(
            f"actions: gripper at step {worst} is {gripper[worst]:.6g}, must be in [0, 1], 1 = open"
        )


def _check_stamps(stamps_ns: dict[str, NDArray[np.int64]], steps: int) -> None:
    if STEP_STREAM not in stamps_ns:
        raise EpisodeError(f"stamps_ns lacks the stream {STEP_STREAM!r}, has {sorted(stamps_ns)}")
    for stream, stamps in stamps_ns.items():
        if not _STREAM_NAME.fullmatch(stream):
            raise EpisodeError(f"stamps_ns: stream {stream!r} must be words joined by slashes")
        _check_array(f"stamps_ns[{stream!r}]", stamps, np.int64, (steps,))
        # A slow camera's frame may serve two steps; a step may not be at the time of another.
        least = 1 if stream == STEP_STREAM else 0
        backwards = np.flatnonzero(np.diff(stamps) < least)
        if backwards.size:
            step = int(backwards[0]) + 1
            raise EpisodeError(
                f"stamps_ns[{stream!r}] does not increase at step {step}: {stamps[step - 1]} then "
                f"{stamps[step]} ns. Check that all hosts share one clock (chrony or use_sim_time)."
            )
