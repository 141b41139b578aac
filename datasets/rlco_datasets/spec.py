"""Frozen dataclasses as YAML files: strict loading, content hashes and differences for people.

Every file that crosses a boundary in rlco (contract, twin, study, run configuration) is one frozen
dataclass. This module is the only place that turns such an object into text and back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import cattrs
import yaml
from cattrs.v import format_exception

T = TypeVar("T")

HASH_LENGTH = 16
LEFT_OUT_IF_EMPTY = "left_out_if_empty"
"""Metadata of a field that came later: while it is empty, files and hashes are as they were."""


class SpecError(ValueError):
    """A specification file is missing, malformed or holds an impossible value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One field in which two specifications differ; None stands for an absent field."""

    path: str
    left: Any
    right: Any

    def __str__(self) -> str:
        """Return `path: left -> right`."""
        return f"{self.path}: {self.left!r} -> {self.right!r}"


def _number(value: Any, kind: type[float]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return float(value)


def _exactly(kind: type) -> Any:
    def check(value: Any, _: type) -> Any:
        if type(value) is not kind:
            raise ValueError(f"expected {kind.__name__}, got {value!r}")
        return value

    return check


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(float, _number)
    for kind in (int, bool, str):
        converter.register_structure_hook(kind, _exactly(kind))
    return converter


_CONVERTER = _converter()


def to_plain(spec: Any) -> dict[str, Any]:
    """Return `spec` (a dataclass instance) as nested dicts, lists, strings and numbers.

    Empty fields of its own whose metadata has `LEFT_OUT_IF_EMPTY` are left out.
    """
    plain: dict[str, Any] = _plain(dataclasses.asdict(spec))
    for item in dataclasses.fields(spec):
        if item.metadata.get(LEFT_OUT_IF_EMPTY) and not plain[item.name]:
            del plain[item.name]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def from_plain(kind: type[T], data: Any, *, where: str) -> T:
    """Build a `kind` from nested dicts; unknown, missing and mistyped fields are errors.

    Raises:
        SpecError: naming `where` (a file or a message) and every offending field.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{where}: expected a mapping of fields for {kind.__name__}, got {data!r}")
    try:
        return _CONVERTER.structure(data, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError) as error:
        reasons = "; ".join(cattrs.transform_error(error, kind.__name__, _reason))
        raise SpecError(f"{where}: {reasons}. Correct the named fields.") from error


def _reason(error: BaseException, kind: type | None) -> str:
    """Say what is wrong with one field: our own messages name the value, cattrs' do not."""
    if isinstance(error, ValueError) and str(error):
        return str(error)
    return format_exception(error, kind)


def load(kind: type[T], path: str | os.PathLike[str]) -> T:
    """Read a `kind` from the YAML file at `path`.

    Raises:
        SpecError: if the file is missing, is not YAML, or does not describe a `kind`.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(
            f"{path}: cannot read this {kind.__name__} file ({error.strerror}). Check the path."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise SpecError(f"{path}: not a YAML file: {where}. Correct it there.") from error
    return from_plain(kind, data, where=str(path))


def dumps(spec: Any) -> str:
    """Return the YAML text of `spec`."""
    return yaml.safe_dump(to_plain(spec), sort_keys=False, allow_unicode=True, width=100)


def save(spec: Any, path: str | os.PathLike[str]) -> None:
    """Write `spec` to `path` as YAML, atomically; parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(dumps(spec), encoding="utf-8")
    partial.replace(path)


def content_hash(spec: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of `spec`."""
    text = json.dumps(to_plain(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def diff(left: Any, right: Any) -> list[Difference]:
    """Return the leaf fields in which two specifications of one kind differ, in field order."""
    a, b = _leaves(to_plain(left)), _leaves(to_plain(right))
    return [
        Difference(path=path, left=a.get(path), right=b.get(path))
        for path in dict.fromkeys((*a, *b))
        if a.get(path) != b.get(path)
    ]


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten to dotted paths; a list whose items have a `name` is keyed by that name."""
    if isinstance(value, dict) and value:
        nested = value.items()
    elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        nested = ((str(v.get("name", i)), v) for i, v in enumerate(value))  # type: ignore[assignment]
    else:
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, item in nested:
        leaves.update(_leaves(item, f"{path}.{key}" if path else key))
    return leaves
