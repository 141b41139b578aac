"""`rlco-serve models`: fill and list a model store."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from rlco_policy_server.model_store import ModelStore
from rlco_policy_server.references import CheckpointReferenceError


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Add a checkpoint to a model store, and list what the store holds.

    In: a store folder, made if missing, and perhaps a checkpoint folder. Out: the store's
    references on stdout, one NAME@HASH a line.
    Example: `rlco-serve models --model-store runs/models --add runs/sft/checkpoint --name sft`.
    """

    model_store: Path
    """The folder of the store."""
    add: Path | None = None
    """A checkpoint folder to copy into the store; needs --name."""
    name: str | None = None
    """The name to add it under; many checkpoints may share one."""


def main(arguments: list[str]) -> None:
    """Run the command; exits 2 when it cannot."""
    asked = tyro.cli(Arguments, prog="rlco-serve models", args=arguments)
    store = ModelStore(folder=asked.model_store)
    try:
        if (asked.add is None) != (asked.name is None):
            raise CheckpointReferenceError("give --add and --name together")
        if asked.add is not None and asked.name is not None:
            from rlco_policy_server.checkpoints import add_to_store  # torch takes seconds

            add_to_store(store, asked.add, asked.name)
    except (CheckpointReferenceError, OSError) as error:
        print(f"rlco-serve models: {error}", file=sys.stderr)
        sys.exit(2)
    for name, hashes in store.list().items():
        for known in hashes:
            print(f"{name}@{known}")
