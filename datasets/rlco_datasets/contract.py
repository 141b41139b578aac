"""The contract: one versioned description of what an observation and an action are.

It is stamped into every episode, twin file, checkpoint, server and evaluation ledger; a boundary
that meets another contract than its own refuses, naming the fields that differ.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from rlco_datasets import spec

ACTION_DIM = 7
STATE_FIELDS = {"tcp_position": 3, "tcp_rotation_6d": 6, "gripper_width": 1}


class ContractMismatchError(ValueError):
    """Two sides of a boundary speak different contracts."""


@dataclass(frozen=True, kw_only=True)
class CameraSpec:
    """How one camera's frame becomes the image that a policy sees.

    A source frame of `source_width` x `source_height` pixels is cropped to `crop`
    (left, top, width, height; source pixels) and resized to `width` x `height`.
    """

    name: str
    source_width: int
    source_height: int
    crop: tuple[int, int, int, int]
    width: int
    height: int

    def __post_init__(self) -> None:
        """Check that the crop lies inside the source frame and keeps the aspect ratio."""
        if not self.name.isidentifier():
            raise ValueError(f"camera name {self.name!r} must be an identifier")
        left, top, crop_width, crop_height = self.crop
        if min(self.width, self.height, crop_width, crop_height) < 1 or min(left, top) < 0:
            raise ValueError(f"camera {self.name}: sizes must be positive, got crop {self.crop}")
        if left + crop_width > self.source_width or top + crop_height > self.source_height:
            raise ValueError(
                f"camera {self.name}: crop {self.crop} leaves the source frame "
                f"{self.source_width}x{self.source_height}"
            )
        if abs(crop_width * self.height - crop_height * self.width) > max(self.width, self.height):
            raise ValueError(
                f"camera {self.name}: crop {crop_width}x{crop_height} and image "
                f"{self.width}x{self.height} differ in aspect ratio; the resize would distort"
            )


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What one observation and one action mean.

    An action is `(7,) float32`: translation delta (m), rotation-vector delta (rad), gripper opening
    in [0, 1] (1 = open). Deltas are in `action_frame` and relative to `delta_reference`:
    `previous_target` is the pose commanded one control period before (at the start of an episode,
    the measured pose). Rotation composes on the left: `R_target = exp(delta) @ R_reference`.
    `max_translation_m` and `max_rotation_rad` bound the Euclidean norm of each part of one action.

    A state is the concatenation of `state_layout` as float32: `tcp_position` (3, m, base frame),
    `tcp_rotation_6d` (6, first two columns of the rotation matrix), `gripper_width` (1, m).

    A policy answers with `horizon` actions at `control_rate_hz`, of which the first
    `executed_steps` are executed before the next answer is due.
    """

    name: str
    cameras: tuple[CameraSpec, ...]
    control_rate_hz: float = 10.0
    action_frame: Literal["base"] = "base"
    delta_reference: Literal["previous_target"] = "previous_target"
    rotation: Literal["rotation_vector"] = "rotation_vector"
    gripper: Literal["absolute_open_1"] = "absolute_open_1"
    gripper_max_width_m: float = 0.08
    state_layout: tuple[str, ...] = ("tcp_position", "tcp_rotation_6d", "gripper_width")
    max_translation_m: float = 0.05
    max_rotation_rad: float = 0.2
    horizon: int = 4
    executed_steps: int = 4
    version: int = 1

    def __post_init__(self) -> None:
        """Reject a contract that no robot could execute."""
        if self.version != 1:
            raise ValueError(f"contract version {self.version} is unknown; this software reads 1")
        if not 0 < self.control_rate_hz <= 1000:
            raise ValueError(f"control_rate_hz must be in (0, 1000], got {self.control_rate_hz}")
        if not 1 <= self.executed_steps <= self.horizon:
            raise ValueError(
                f"executed_steps must be in [1, horizon={self.horizon}], got {self.executed_steps}"
            )
        for field in ("gripper_max_width_m", "max_translation_m", "max_rotation_rad"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be positive, got {getattr(self, field)}")
        unknown = [name for name in self.state_layout if name not in STATE_FIELDS]
        if unknown or not self.state_layout:
            raise ValueError(f"state_layout {unknown} unknown; choose from {list(STATE_FIELDS)}")
        names = [camera.name for camera in self.cameras]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"cameras must be at least one, with distinct names; got {names}")

    @cached_property
    def id(self) -> str:
        """The content hash: equal ids mean equal contracts."""
        return spec.content_hash(self)

    @property
    def period_s(self) -> float:
        """One control period, in seconds."""
        return 1.0 / self.control_rate_hz

    @property
    def period_ns(self) -> int:
        """One control period, in nanoseconds."""
        return round(1e9 / self.control_rate_hz)

    @property
    def state_dim(self) -> int:
        """Length of the state vector."""
        return sum(STATE_FIELDS[name] for name in self.state_layout)

    def camera(self, name: str) -> CameraSpec:
        """Return the camera called `name`.

        Raises:
            KeyError: if the contract has no such camera.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"contract {self.name!r} has no camera {name!r}, only {self.camera_names}")

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The names of the cameras, in order."""
        return tuple(camera.name for camera in self.cameras)


def load_contract(path: str | os.PathLike[str]) -> Contract:
    """Read a contract from a YAML file; raises `SpecError` naming what is wrong."""
    return spec.load(Contract, path)


def contract_from_plain(data: Any, *, where: str) -> Contract:
    """Read a contract from nested dicts, as stamped into stores, checkpoints and replies."""
    return spec.from_plain(Contract, data, where=where)


def require_same_contract(ours: Contract, theirs: Contract, *, where: str) -> None:
    """Refuse to cross a boundary between two contracts.

    Raises:
        ContractMismatchError: naming `where` the mismatch was found and each differing field.
    """
    if ours.id == theirs.id:
        return
    fields = "; ".join(str(difference) for difference in spec.diff(ours, theirs))
    raise ContractMismatchError(
        f"{where}: contract {theirs.name!r} ({theirs.id}) is not the expected "
        f"{ours.name!r} ({ours.id}). They differ in {fields}. Use data, twin, checkpoint and robot "
        "configuration of one contract, or convert the data."
    )


def franka_third_person() -> Contract:
    """Return the default contract: one fixed 640x480 camera, 224x224 policy image, 10 Hz."""
    return Contract(
        name="franka_third_person",
        cameras=(
            CameraSpec(
                name="third_person",
                source_width=640,
                source_height=480,
                crop=(80, 0, 480, 480),
                width=224,
                height=224,
            ),
        ),
        horizon=8,
    )


def franka_compact() -> Contract:
    """Return the contract of the `compact` policy family: a 64x64 image of the same camera."""
    return Contract(
        name="franka_compact",
        cameras=(
            CameraSpec(
                name="third_person",
                source_width=320,
                source_height=240,
                crop=(40, 0, 240, 240),
                width=64,
                height=64,
            ),
        ),
    )


BUILT_IN = {contract().name: contract for contract in (franka_third_person, franka_compact)}
