"""The messages of openpi's websocket protocol: msgpack maps with numpy arrays in them, bounded.

An array is the map `{b"__ndarray__": True, b"data": bin, b"dtype": "<f4", b"shape": [4, 7]}`, a
numpy scalar `{b"__npgeneric__": True, b"data": 1.5, b"dtype": "<f4"}`: what `openpi-client` 0.1
sends and reads. Object, void, complex, text and date dtypes are refused, as is everything that the
limits of `wire.arrays` exclude.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.wire.arrays import (
    DTYPES,
    MAX_DIMS,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    MAX_TEXT_BYTES,
    WireError,
    show,
)
from rlco_policy_server.wire.lifting import lift

ACCEPTED = DTYPES | {"|b1": np.dtype(np.bool_)}
ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"
ARRAY_KEYS = {ARRAY, b"data", b"dtype", b"shape"}
SCALAR_KEYS = {SCALAR, b"data", b"dtype"}


def pack(message: Any) -> bytes:
    """Return `message`, nested maps and lists of plain values and arrays, as msgpack bytes."""
    packed: bytes = msgpack.packb(message, default=_encode)
    return packed


def unpack(body: bytes | memoryview, *, what: str) -> dict[str, Any]:
    """Return the map in `body`; its arrays are views.

    Raises:
        WireError: if the bytes are too many, not msgpack, no map, or hold an unacceptable array.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise WireError(f"{what}: {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are accepted")
    lifted = lift(body)
    try:
        message = msgpack.unpackb(
            lifted.message,
            raw=False,
            strict_map_key=True,
            object_hook=_decode,
            max_str_len=MAX_TEXT_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=len(lifted.arrays) and 1,
            ext_hook=lifted.put_back,
        )
    except WireError:
        raise
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise WireError(
            f"{what}: not an acceptable msgpack message ({reason[:200]}); send what "
            "openpi-client packs"
        ) from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise WireError(f"{what}: expected a map with text keys, got {show(message)}")
    return message


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.str not in ACCEPTED:
            raise WireError(f"array of dtype {value.dtype} cannot be sent")
        return {
            ARRAY: True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _decode(value: dict[Any, Any]) -> Any:
    """Turn the map of an array or scalar into it; msgpack calls this for every map, inner first."""
    if ARRAY in value:
        return _array(value)
    if SCALAR in value:
        return _scalar(value)
    return value


def _array(value: dict[Any, Any]) -> NDArray[Any]:
    if value.keys() != ARRAY_KEYS:
        raise WireError(f"array: expected the keys {sorted(ARRAY_KEYS)}, got {show(list(value))}")
    dtype, shape, data = _dtype(value[b"dtype"]), value[b"shape"], value[b"data"]
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > MAX_DIMS
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        raise WireError(
            f"array: shape must be at most {MAX_DIMS} positive integers, got {show(shape)}"
        )
    expected = math.prod(shape) * dtype.itemsize
    binary = isinstance(data, (bytes, memoryview))
    if not binary or len(data) != expected:
        length = f"{len(data)} bytes" if binary else show(data)
        raise WireError(
            f"array: data holds {length}, but shape {show(shape)} of {dtype.str} needs {expected}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _scalar(value: dict[Any, Any]) -> Any:
    if value.keys() != SCALAR_KEYS:
        raise WireError(f"scalar: expected the keys {sorted(SCALAR_KEYS)}, got {show(list(value))}")
    dtype, data = _dtype(value[b"dtype"]), value[b"data"]
    try:
        if not isinstance(data, (bool, int, float)):
            raise TypeError("not a number")
        with np.errstate(over="ignore"):
            return dtype.type(data)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"scalar: {show(data)} is no {dtype.str} ({error})") from error


def _dtype(text: Any) -> np.dtype[Any]:
    dtype = ACCEPTED.get(text) if isinstance(text, str) else None
    if dtype is None:
        raise WireError(f"array: dtype {show(text)} is not accepted; send one of {list(ACCEPTED)}")
    return dtype
