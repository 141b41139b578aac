"""Hash-chained JSON lines: each line carries the hash of the one before, so that edits show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64


class ChainError(ValueError):
    """A line is malformed, or is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """The committed lines of a file; `size` is their length in bytes, `torn` what follows them."""

    lines: tuple[dict[str, Any], ...]
    head: str
    size: int
    torn: bytes
    ended: bool


def encode(body: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """Return the line for `body` that follows the line with hash `previous`, and its own hash.

    Raises:
        ValueError: if `body` holds NaN or infinity.
    """
    plain = {**body, "previous": previous}
    digest = _digest(plain)
    return _text({**plain, "hash": digest}).encode() + b"\n", digest


def parse(data: bytes) -> Parsed:
    """Split `data` into committed lines and a torn tail.

    A line is committed once its newline is on disk. A last line without one is torn, unless it is
    whole (some editors strip the final newline). A power cut can leave zeros in the last line.

    Raises:
        ChainError: naming the first line that is not what was written.
    """
    lines: list[dict[str, Any]] = []
    head, size = GENESIS, 0
    raw_lines = data.splitlines(keepends=True)
    for number, raw in enumerate(raw_lines, start=1):
        last = number == len(raw_lines)
        try:
            body = _check(raw, head)
        except ChainError as error:
            if last and (not raw.endswith(b"\n") or b"\0" in raw):
                break
            raise ChainError(f"line {number}: {error}") from error
        lines.append(body)
        head, size = body["hash"], size + len(raw)
    return Parsed(
        lines=tuple(lines),
        head=head,
        size=size,
        torn=data[size:],
        ended=data[:size].endswith(b"\n") or not size,
    )


def _check(raw: bytes, previous: str) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except ValueError as error:
        raise ChainError(f"is not JSON ({error})") from error
    if not isinstance(line, dict) or not isinstance(line.get("hash"), str):
        raise ChainError("carries no hash")
    if line.get("previous") != previous:
        raise ChainError("does not follow the line before it: one was removed, added or moved")
    if _digest({key: value for key, value in line.items() if key != "hash"}) != line["hash"]:
        raise ChainError("was edited after it was written: its hash does not match its content")
    return line


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(plain, sort_keys=True).encode()).hexdigest()


def _text(plain: Mapping[str, Any], *, sort_keys: bool = False) -> str:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False, sort_keys=sort_keys)
