"""`KeyMap`: from a client's observation to the contract's, and from its chunk to the client's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import STATE_FIELDS, Contract

from rlco_policy_server.keymaps.meanings import CONVERSIONS, Meaning
from rlco_policy_server.wire.arrays import show

MAX_TEXT = 4096


class KeyMapError(ValueError):
    """An observation and a contract do not fit by this map; the text names every difference."""


@dataclass(frozen=True, kw_only=True)
class StatePart:
    """`size` numbers of one of the client's keys, after those that earlier parts took."""

    key: str
    meaning: Meaning
    size: int = 0
    """Only for `unused` numbers; the other meanings know their size."""

    def __post_init__(self) -> None:
        """Give every part exactly one size."""
        if (self.meaning == "unused") != (self.size > 0):
            raise ValueError(f"{self.key}: 'size' is for unused numbers, and they need one")

    @property
    def length(self) -> int:
        """How many numbers this part takes."""
        return self.size or CONVERSIONS[self.meaning].size


@dataclass(frozen=True, kw_only=True)
class ActionConvention:
    """What the client's robot loop does with the seven numbers of an action.

    Units and the gripper's sign are converted. The other fields must be the contract's own.
    """

    action_frame: str = "base"
    delta_reference: str = "previous_target"
    rotation: str = "rotation_vector"
    translation_unit_m: float = 1.0
    rotation_unit_rad: float = 1.0
    gripper: Literal["open_1", "closed_1", "closed_plus_1_open_minus_1"] = "open_1"
    control_rate_hz: float | None = None
    """None: the client follows the rate in the metadata."""

    def __post_init__(self) -> None:
        """Check the units."""
        if min(self.translation_unit_m, self.rotation_unit_rad) <= 0:
            raise ValueError("translation_unit_m and rotation_unit_rad must be positive")

    def differences(self, contract: Contract) -> list[str]:
        """Return `field: client -> contract` of what cannot be converted."""
        names = ["action_frame", "delta_reference", "rotation"]
        if self.control_rate_hz is not None:
            names.append("control_rate_hz")
        return [
            f"actions.{name}: {getattr(self, name)!r} -> {getattr(contract, name)!r}"
            for name in names
            if getattr(self, name) != getattr(contract, name)
        ]

    def from_contract(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `(T, 7)` contract actions as the client's."""
        out = np.array(actions, np.float32)
        out[:, 0:3] /= self.translation_unit_m
        out[:, 3:6] /= self.rotation_unit_rad
        if self.gripper == "closed_1":
            out[:, 6] = 1.0 - out[:, 6]
        elif self.gripper == "closed_plus_1_open_minus_1":
            out[:, 6] = 1.0 - 2.0 * out[:, 6]
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a client sent, under the contract's names; `state` is `(S,) float32`."""

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    instruction: str
    session: str | None
    contract_id: str | None


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """How one kind of client names things.

    `images` maps its keys to the contract's camera names; a key that is a regular expression (it
    starts with `^`) stands for the one key that it matches. Cameras that the contract lacks, and
    the keys in `unused`, are accepted and not looked at; any other key is refused.
    """

    name: str
    images: dict[str, str]
    state: tuple[StatePart, ...] = ()
    instruction: str = "prompt"
    session: str = ""
    contract_id: str = ""
    unused: tuple[str, ...] = ()
    actions: ActionConvention = field(default_factory=ActionConvention)

    def __post_init__(self) -> None:
        """Refuse a map that contradicts itself."""
        cameras = list(self.images.values())
        if not cameras or len(set(cameras)) != len(cameras):
            raise ValueError(f"images must name each camera once, got {self.images}")
        keys = [*self.images, *self._sizes, self.instruction, *self.unused]
        if len(set(keys)) != len(keys):
            raise ValueError(f"every key has one meaning, got {sorted(keys)}")

    @property
    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for part in self.state:
            sizes[part.key] = sizes.get(part.key, 0) + part.length
        return sizes

    def problems(self, contract: Contract, *, uses_state: bool = True) -> list[str]:
        """Return why no client of this map can talk to a policy of `contract`; empty if it can."""
        missing = [name for name in contract.camera_names if name not in self.images.values()]
        found = [f"images.{name}: not in the map" for name in missing]
        given = {CONVERSIONS[p.meaning].field for p in self.state if p.meaning != "unused"}
        if uses_state:
            found += [
                f"state.{name}: not in the map"
                for name in contract.state_layout
                if name not in given
            ]
        return found + self.actions.differences(contract)

    def required(self, contract: Contract, *, uses_state: bool = True) -> dict[str, str]:
        """Return what a client must send: key -> what it is, with unit and shape."""
        wanted = {
            key: f"uint8 RGB {camera.width}x{camera.height} or the source frame "
            f"{camera.source_width}x{camera.source_height}, camera {camera.name}"
            for key, name in self.images.items()
            for camera in contract.cameras
            if camera.name == name
        }
        for key, size in self._sizes.items() if uses_state else ():
            parts = [part.meaning for part in self.state if part.key == key]
            wanted[key] = f"float ({size},): {' + '.join(parts)}"
        return wanted | {self.instruction: "text"}

    def read(
        self, fields: Mapping[str, Any], contract: Contract, *, uses_state: bool = True
    ) -> Observation:
        """Return the observation in a client's message.

        Raises:
            KeyMapError: naming every key and field in which message, map and contract differ.
        """
        problems = self.problems(contract, uses_state=uses_state)
        images, seen = self._images(fields, contract, problems)
        parts: dict[str, NDArray[np.float64]] = {}
        for key, size in self._sizes.items():
            if key in fields:
                seen.add(key)
                self._state(fields[key], key, size, contract, parts, problems)
            elif uses_state:
                problems.append(f"{key}: missing; float ({size},)")
        instruction = self._text(fields, self.instruction, problems)
        seen |= {self.instruction, *filter(None, (self.session, self.contract_id)), *self.unused}
        problems += [f"{show(key)}: unknown" for key in fields if key not in seen]
        if problems:
            raise KeyMapError(
                f"key map {self.name!r}, contract {contract.name!r}: {'; '.join(problems)}"
            )
        state = [parts.get(name, np.zeros(STATE_FIELDS[name])) for name in contract.state_layout]
        return Observation(
            images=images,
            state=np.concatenate(state).astype(np.float32),
            instruction=instruction,
            session=name_of(fields.get(self.session)),
            contract_id=name_of(fields.get(self.contract_id)),
        )

    def _images(
        self, fields: Mapping[str, Any], contract: Contract, problems: list[str]
    ) -> tuple[dict[str, NDArray[np.uint8]], set[str]]:
        images: dict[str, NDArray[np.uint8]] = {}
        seen: set[str] = set()
        for wanted, camera in self.images.items():
            keys = [key for key in fields if _matches(wanted, key)]
            seen.update(keys)
            if camera not in contract.camera_names:
                continue
            if len(keys) != 1:
                problems.append(f"{wanted}: {'missing' if not keys else show(keys)}; one RGB image")
                continue
            image = fields[keys[0]]
            if (
                not isinstance(image, np.ndarray)
                or image.dtype != np.uint8
                or image.ndim != 3
                or image.shape[2] != 3
            ):
                problems.append(f"{keys[0]}: {_shape(image)} is not uint8 RGB (H, W, 3)")
                continue
            images[camera] = image
        return images, seen

    def _state(
        self,
        value: Any,
        key: str,
        size: int,
        contract: Contract,
        parts: dict[str, NDArray[np.float64]],
        problems: list[str],
    ) -> None:
        """Convert the numbers of one key into the contract's state fields."""
        numbers = np.atleast_1d(value) if isinstance(value, NUMBERS) else None
        if numbers is None or numbers.dtype.kind not in "fiu" or numbers.shape != (size,):
            problems.append(f"{key}: {_shape(value)} is not float ({size},)")
            return
        numbers = numbers.astype(np.float64)
        if not np.isfinite(numbers).all():
            problems.append(f"{key}: NaN or infinite numbers")
            return
        at = 0
        for part in self.state:
            if part.key != key:
                continue
            taken = numbers[at : at + part.length]
            at += part.length
            if part.meaning == "unused":
                continue
            conversion = CONVERSIONS[part.meaning]
            try:
                parts[conversion.field] = conversion.convert(taken, contract.gripper_max_width_m)
            except ValueError as error:
                problems.append(f"{key}: {taken.tolist()} is no {part.meaning} ({error})")

    def _text(self, fields: Mapping[str, Any], key: str, problems: list[str]) -> str:
        value = fields.get(key)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            problems.append(
                f"{key}: {'missing' if key not in fields else _shape(value)}; text of at most "
                f"{MAX_TEXT} characters"
            )
            return ""
        return value


NUMBERS = (np.ndarray, np.generic, float, int)
KEY_OF_SESSION = re.compile(r"[^\x00-\x1f]{1,128}")


def name_of(value: Any) -> str | None:
    """Return a name that a client sent as text, a number or an array of one; None if there is none.

    Raises:
        KeyMapError: if it is something else.
    """
    if value is None:
        return None
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.item() if value.size == 1 else value.tolist()
    text = str(value) if isinstance(value, (str, int)) else ""
    if not KEY_OF_SESSION.fullmatch(text):
        raise KeyMapError(f"{show(value)} is no name; send text of at most 128 characters")
    return text


def _matches(wanted: str, key: str) -> bool:
    return re.fullmatch(wanted, key) is not None if wanted.startswith("^") else wanted == key


def _shape(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return show(value)
