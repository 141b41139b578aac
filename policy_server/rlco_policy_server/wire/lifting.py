"""Large arrays are lifted out of a msgpack message before it is decoded, so that none is copied.

msgpack copies every `bin`, which for camera images costs more than all else that a decoder does. An
array's bytes follow the key `data`, in our messages as in openpi's. Where that key is followed by
the size of a large `bin` that the message has room for, a one-byte extension takes its place.

Nothing else can look like that: in text, the byte after `data` would have to begin a character, and
the size would be larger than any message; in another `bin`, chance would have to write these nine
bytes, and the message would then be refused as malformed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

MIN_LIFTED_BYTES = 1 << 15
MAX_LIFTED = 64
_LIFTED = 0x41
"""The extension type that stands for what was lifted."""
_LARGE = re.compile(rb"data\xc6(.{4})", re.DOTALL)


class Lifted(NamedTuple):
    """A message without its large arrays, and these, as views of it."""

    message: bytes | memoryview
    arrays: list[memoryview]

    @property
    def put_back(self) -> Callable[[int, bytes], memoryview]:
        """Return the `ext_hook` that puts the arrays back; raises ValueError for extensions."""
        arrays = self.arrays

        def put(kind: int, index: bytes) -> memoryview:
            if kind != _LIFTED or len(index) != 1 or index[0] >= len(arrays):
                raise ValueError(f"extension type {kind}")
            return arrays[index[0]]

        return put


def lift(body: bytes | memoryview) -> Lifted:
    """Return the message in `body` and its large arrays; small messages stay as they are."""
    if len(body) < MIN_LIFTED_BYTES:
        return Lifted(body, [])
    view = memoryview(body)
    parts: list[bytes | memoryview] = []
    arrays: list[memoryview] = []
    at = search = 0
    while len(arrays) < MAX_LIFTED and (found := _LARGE.search(view, search)):
        (size,) = struct.unpack(">I", found[1])
        start = found.end()
        if not MIN_LIFTED_BYTES <= size <= len(view) - start:
            search = found.start() + 1
            continue
        parts += view[at : start - 5], bytes((0xD4, _LIFTED, len(arrays)))
        arrays.append(view[start : start + size])
        at = search = start + size
    if not arrays:
        return Lifted(body, [])
    return Lifted(b"".join([*parts, view[at:]]), arrays)
