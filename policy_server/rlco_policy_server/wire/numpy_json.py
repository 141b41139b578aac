"""The messages of OpenVLA's REST protocol: JSON with numpy arrays in it (json-numpy), bounded.

An array is `{"__numpy__": base64, "dtype": "|u1", "shape": [224, 224, 3]}`; a shape of `[]` is a
scalar. The double-encoded form is `{"encoded": text}` with the JSON of the message as its text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pybase64
from numpy.typing import NDArray

from rlco_policy_server.wire.arrays import (
    DTYPES,
    MAX_DIMS,
    MAX_MESSAGE_BYTES,
    MAX_TEXT_BYTES,
    WireError,
    show,
)

ACCEPTED = DTYPES | {"|b1": np.dtype(np.bool_)}
ARRAY_KEYS = {"__numpy__", "dtype", "shape"}
MAX_MARKS = 4096
"""The most commas, braces and brackets in a message: arrays are base64, which has none."""
MAX_DEPTH = 8
"""The most maps and lists inside one another."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A decoded message; `double_encoded` says that the reply must be, too."""

    fields: dict[str, Any]
    double_encoded: bool


def dumps(value: Any) -> bytes:
    """Return the JSON of `value`, in which arrays may occur."""
    return orjson.dumps(value, default=_encode)


def loads(body: bytes, *, what: str) -> Message:
    """Return the message in `body`.

    Raises:
        WireError: if it is too large or nested, no JSON object, or holds an unacceptable array.
    """
    fields = _parse(body, what)
    double = fields.keys() == {"encoded"}
    if double:
        inner = fields["encoded"]
        if not isinstance(inner, str):
            raise WireError(f"{what}: 'encoded' must be JSON text, got {show(inner)}")
        fields = _parse(inner.encode(), what)
    for key, value in fields.items():
        for text in (key, value) if isinstance(value, str) else (key,):
            if len(text) > MAX_TEXT_BYTES:
                raise WireError(f"{what}: {show(text)} is too long")
    decoded = {key: _decode(value, MAX_DEPTH) for key, value in fields.items()}
    return Message(fields=decoded, double_encoded=double)


def _parse(body: bytes, what: str) -> dict[str, Any]:
    if len(body) > MAX_MESSAGE_BYTES:
        raise WireError(f"{what}: {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are accepted")
    characters = np.frombuffer(body, np.uint8)  # faster than body.count
    marks = sum(int(np.count_nonzero(characters == mark)) for mark in b",{[")
    if marks > MAX_MARKS:
        raise WireError(
            f"{what}: {marks} lists, maps and commas, at most {MAX_MARKS} are accepted; encode "
            "arrays with json-numpy instead of as lists of numbers"
        )
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WireError(f"{what}: not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise WireError(f"{what}: expected a JSON object, got {show(fields)}")
    return fields


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = pybase64.b64encode(value.tobytes()).decode()
        return {"__numpy__": data, "dtype": value.dtype.str, "shape": value.shape}
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def _decode(value: Any, depth: int) -> Any:
    """Turn every map that stands for an array into it."""
    if not isinstance(value, (dict, list)):
        return value
    if not depth:
        raise WireError(f"at most {MAX_DEPTH} lists and maps may be inside one another")
    if isinstance(value, list):
        return [_decode(item, depth - 1) for item in value]
    if "__numpy__" not in value:
        return {key: _decode(item, depth - 1) for key, item in value.items()}
    if value.keys() != ARRAY_KEYS:
        raise WireError(f"array: expected the keys {sorted(ARRAY_KEYS)}, got {show(list(value))}")
    text, name, shape = value["__numpy__"], value["dtype"], value["shape"]
    dtype = ACCEPTED.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise WireError(f"array: dtype {show(name)} is not accepted; send one of {list(ACCEPTED)}")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMS
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        raise WireError(
            f"array: shape must be at most {MAX_DIMS} positive integers, got {show(shape)}"
        )
    return _array(text, dtype, shape)


def _array(text: Any, dtype: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
    try:
        if not isinstance(text, str):
            raise ValueError(f"{show(text)} is no text")
        data = pybase64.b64decode(text, validate=True)
    except ValueError as error:
        raise WireError(f"array: __numpy__ is not base64 ({error})") from error
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise WireError(
            f"array: data holds {len(data)} bytes, but shape {show(shape)} of {dtype.str} needs "
            f"{expected}"
        )
    return np.frombuffer(data, dtype).reshape(shape)
