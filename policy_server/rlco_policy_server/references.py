"""What `--checkpoint` means: a folder, or an alias and a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rlco_policy_server.policies import ALIAS, DEFAULT_ALIAS


class CheckpointReferenceError(ValueError):
    """A `--checkpoint` value does not lead to a usable checkpoint."""


def parse_references(values: Iterable[str]) -> dict[str, Path]:
    """Return `{alias: folder}` of `ALIAS=DIR` or `DIR` values; a bare DIR is alias `default`.

    Raises:
        CheckpointReferenceError: if there is none, or an alias comes twice.
    """
    folders: dict[str, Path] = {}
    for value in values:
        left, equals, right = value.partition("=")
        aliased = bool(equals) and ALIAS.fullmatch(left) is not None
        alias, folder = (left, right) if aliased else (DEFAULT_ALIAS, value)
        if alias in folders:
            raise CheckpointReferenceError(
                f"--checkpoint {value}: alias {alias!r} is taken by {folders[alias]}; give each "
                "checkpoint its own alias, as in --checkpoint A=DIR_A --checkpoint B=DIR_B"
            )
        folders[alias] = Path(folder)
    if not folders:
        raise CheckpointReferenceError("nothing to serve; give at least one --checkpoint DIR")
    return folders
