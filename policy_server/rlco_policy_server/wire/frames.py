"""Websocket frames (RFC 6455, section 5.2) of large payloads, which are copied once.

`websockets` speaks the rest of the protocol on both sides: handshakes, control frames, fragments.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WHOLE_TEXT, WHOLE_BINARY = 0x81, 0x82
"""First byte of a frame that is a whole message, without extensions."""
MASKED = 0x80
MASK_BYTES = 4
HEADER_ROOM = 16
"""No header is longer."""


class Header(NamedTuple):
    """What stands before a payload: `first` byte, `mask` (4 bytes or none), both sizes in bytes."""

    first: int
    mask: bytes
    payload_size: int
    header_size: int


def write_header(first: int, payload_size: int, mask: bytes = b"") -> bytes:
    """Return the bytes before a payload; `mask` has 4 bytes if a client sends, none otherwise."""
    masked = MASKED if mask else 0
    if payload_size < 126:
        return struct.pack("!BB", first, masked | payload_size) + mask
    if payload_size < 1 << 16:
        return struct.pack("!BBH", first, masked | 126, payload_size) + mask
    return struct.pack("!BBQ", first, masked | 127, payload_size) + mask


def read_header(data: bytes | bytearray | memoryview) -> Header | None:
    """Return the header that `data` begins with, or None while it is incomplete."""
    if len(data) < 2:
        return None
    first, second = data[0], data[1]
    size, at = second & ~MASKED, 2
    if size >= 126:
        form = "!H" if size == 126 else "!Q"
        if len(data) < (at := 2 + struct.calcsize(form)):
            return None
        (size,) = struct.unpack_from(form, data, 2)
    end = at + (MASK_BYTES if second & MASKED else 0)
    return Header(first, bytes(data[at:end]), size, end) if len(data) >= end else None


def masked_frame(parts: Sequence[bytes | memoryview], mask: bytes) -> memoryview:
    """Return the whole binary frame of a message in parts, as clients send it."""
    header = write_header(WHOLE_BINARY, sum(map(len, parts)), mask)
    skipped = HEADER_ROOM - len(header)  # so that the payload can be masked in words
    frame = bytearray().join((bytes(skipped), header, *parts))
    _toggle(np.frombuffer(frame, np.uint8, offset=HEADER_ROOM), _words_of(mask))
    return memoryview(frame)[skipped:]


def _words_of(mask: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(mask * 2, np.uint64)


def _toggle(data: NDArray[np.uint8], mask: NDArray[np.uint64]) -> None:
    """Apply `mask`, or take it off; `data` begins at a multiple of 8 bytes of its payload."""
    end = len(data) & ~7
    words = data[:end].view(np.uint64)
    words ^= mask
    rest = data[end:]
    rest ^= mask.view(np.uint8)[: len(rest)]


class Payload:
    """The payload of one frame that arrives; its mask is taken off in place as the bytes come."""

    def __init__(self, size: int, mask: bytes = b"") -> None:
        """Wait for `size` bytes; memory is only touched as they come."""
        self._bytes: NDArray[np.uint8] = np.empty(size, np.uint8)
        self._view = self._bytes.data
        self._mask = _words_of(mask) if mask else None
        self._received = 0
        self._clear = 0

    def take(self, data: memoryview) -> int:
        """Copy what belongs to this payload from `data`; return how many bytes that were."""
        room = self.room
        count = min(len(data), len(room))
        room[:count] = data[:count]
        self.advance(count)
        return count

    @property
    def room(self) -> memoryview:
        """Where the next bytes belong."""
        return self._view[self._received :]

    def advance(self, count: int) -> None:
        """Note that the first `count` bytes of `room` were written."""
        end = self._received = self._received + count
        if self._mask is not None:
            clear = end if end == len(self._view) else end & ~7
            _toggle(self._bytes[self._clear : clear], self._mask)
            self._clear = clear

    @property
    def whole(self) -> memoryview | None:
        """The payload, or None while it is incomplete."""
        return self._view if self._received == len(self._view) else None


class Piece(NamedTuple):
    """What arrived: the payload of a frame that was chosen, or bytes of another, in order."""

    chosen: bool
    data: memoryview


class Splitter:
    """Splits what arrives, after the handshake, into frames."""

    def __init__(self, choose: Callable[[Header], bool]) -> None:
        """Collect the payloads of the frames that `choose` accepts, and pass on all others."""
        self._choose = choose
        self._start = b""
        """The incomplete header of the next frame."""
        self._payload: Payload | None = None
        """The present frame, if it was chosen."""
        self._passing = 0
        """How many bytes of the present frame are still to be passed on."""

    @property
    def room(self) -> memoryview | None:
        """Where the next bytes may be written, then told to `wrote`; None: for `split`."""
        return None if self._payload is None else self._payload.room

    def wrote(self, count: int) -> memoryview | None:
        """Note that `count` bytes were written into `room`; return the payload once it is whole."""
        assert self._payload is not None
        self._payload.advance(count)
        whole = self._payload.whole
        if whole is not None:
            self._payload = None
        return whole

    def split(self, data: bytes | memoryview) -> Iterator[Piece]:
        """Yield the pieces that `data` completes."""
        rest = memoryview(self._start + bytes(data) if self._start else data)
        self._start = b""
        while rest:
            if self._payload is not None:
                rest = rest[self._payload.take(rest) :]
                whole = self._payload.whole
                if whole is not None:
                    self._payload = None
                    yield Piece(True, whole)
            elif self._passing:
                passed, rest = rest[: self._passing], rest[self._passing :]
                self._passing -= len(passed)
                yield Piece(False, passed)
            elif (header := read_header(rest)) is None:
                self._start = bytes(rest)
                return
            elif header.payload_size and self._choose(header):
                self._payload = Payload(header.payload_size, header.mask)
                rest = rest[header.header_size :]
            else:
                self._passing = header.header_size + header.payload_size
