"""What `--checkpoint` means: a reference to a checkpoint, or an alias and a reference."""

from __future__ import annotations

from collections.abc import Iterable

from rlco_policy_server.policies import ALIAS, DEFAULT_ALIAS


class CheckpointReferenceError(ValueError):
    """A `--checkpoint` value does not lead to a usable checkpoint."""


def parse_references(values: Iterable[str]) -> dict[str, str]:
    """Return `{alias: reference}` of `ALIAS=REF` or `REF` values; a bare REF is alias `default`.

    A reference is a checkpoint folder, or `name@hash` of a model store.

    Raises:
        CheckpointReferenceError: if there is none, or an alias comes twice.
    """
    references: dict[str, str] = {}
    for value in values:
        left, equals, right = value.partition("=")
        aliased = bool(equals) and ALIAS.fullmatch(left) is not None
        alias, reference = (left, right) if aliased else (DEFAULT_ALIAS, value)
        if alias in references:
            raise CheckpointReferenceError(
                f"--checkpoint {value}: alias {alias!r} is taken by {references[alias]}; give each "
                "checkpoint its own alias, as in --checkpoint A=DIR_A --checkpoint B=DIR_B"
            )
        references[alias] = reference
    if not references:
        raise CheckpointReferenceError("nothing to serve; give at least one --checkpoint DIR")
    return references
