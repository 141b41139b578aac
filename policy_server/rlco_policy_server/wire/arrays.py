"""Numpy arrays inside msgpack messages: bounded, checked, and decoded without copying the pixels.

An array is the map `{"dtype": "<f4", "shape": [4, 7], "data": <bin>}`: row-major, little-endian.
"""

from __future__ import annotations

import math
import reprlib
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.wire.lifting import lift

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
MAX_DIMS = 4
MAX_ITEMS = 64
"""The most items of one map or list; arrays are `bin`, so nothing honest comes near."""
MAX_TEXT_BYTES = 16 * 1024
DTYPES = {
    text: np.dtype(text)
    for text in ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
}


Parts = Sequence[bytes | memoryview]
"""A message in parts, which follow each other."""
MIN_PART_BYTES = 1 << 16
"""An array of so many bytes is a part of its own; msgpack writes its size in 4 bytes."""
PACKER_BYTES = 4096
"""What is packed besides the parts; msgpack would set a quarter of a megabyte aside each time."""
MSGPACK_BIN_32 = 0xC6


class WireError(ValueError):
    """A message is malformed; the text names the field, the offending value and the remedy."""


def show(value: Any) -> str:
    """Return a short representation of a value that came over the wire."""
    return reprlib.repr(value)


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """Return the map that stands for `array`.

    Raises:
        WireError: if its dtype is not a plain integer or float.
    """
    array = np.asarray(array)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    if little.dtype.str not in DTYPES:
        raise WireError(f"array of dtype {array.dtype} cannot be sent; use one of {list(DTYPES)}")
    return {"dtype": little.dtype.str, "shape": list(array.shape), "data": little.data.cast("B")}


def decode_array(value: Any, *, field: str) -> NDArray[Any]:
    """Return the array that the map `value` stands for, a view of its bytes.

    Raises:
        WireError: naming `field` and what is wrong with it.
    """
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data"}:
        raise WireError(
            f"{field}: expected an array as a map of 'dtype', 'shape' and 'data', got {show(value)}"
        )
    dtype = DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise WireError(
            f"{field}: dtype {show(value['dtype'])} is not accepted; send one of {list(DTYPES)}"
        )
    shape, data = value["shape"], value["data"]
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= MAX_DIMS
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        raise WireError(
            f"{field}: shape must be a list of 1 to {MAX_DIMS} positive integers, got {show(shape)}"
        )
    if not isinstance(data, (bytes, memoryview)):
        raise WireError(f"{field}: data must be msgpack bin, got {show(data)}")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise WireError(
            f"{field}: data holds {len(data)} bytes, but shape {show(shape)} of {dtype.str} needs "
            f"{expected}; send the array contiguous, row-major"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def pack(message: dict[str, Any]) -> bytes:
    """Return `message` as msgpack bytes."""
    packed: bytes = msgpack.packb(message, use_bin_type=True)
    return packed


def pack_parts(message: dict[str, Any]) -> Parts:
    """Return the parts of the msgpack bytes; large arrays are not copied, but parts themselves."""
    packer = msgpack.Packer(use_bin_type=True, autoreset=False, buf_size=PACKER_BYTES)
    parts: list[bytes | memoryview] = []
    _put(message, packer, parts)
    parts.append(packer.bytes())
    return parts


def _put(value: Any, packer: msgpack.Packer, parts: list[bytes | memoryview]) -> None:
    """Append what `packer` holds to `parts` where a large array follows, and the array."""
    if isinstance(value, dict):
        packer.pack_map_header(len(value))
        for key, item in value.items():
            packer.pack(key)
            _put(item, packer, parts)
    elif isinstance(value, memoryview) and len(value) >= MIN_PART_BYTES:
        parts.append(packer.bytes() + struct.pack("!BI", MSGPACK_BIN_32, len(value)))
        parts.append(value)
        packer.reset()
    else:
        packer.pack(value)


def unpack(body: bytes | memoryview, *, what: str) -> dict[str, Any]:
    """Return the map that the msgpack bytes hold; memory is bounded by a few times the input.

    Raises:
        WireError: if the bytes are too many, not msgpack, or not a map.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise WireError(
            f"{what}: {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are accepted; send the "
            "camera at the contract's resolution"
        )
    lifted = lift(body)
    try:
        message = msgpack.unpackb(
            lifted.message,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_TEXT_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=len(lifted.arrays) and 1,
            ext_hook=lifted.put_back,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise WireError(
            f"{what}: not an acceptable msgpack message ({reason[:200]}); see docs/serving.md for "
            "the format"
        ) from error
    if not isinstance(message, dict):
        raise WireError(f"{what}: expected a msgpack map, got {show(message)}")
    return message
