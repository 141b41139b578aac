"""A folder of checkpoints by name and content: `STORE/<name>/<hash>`, asked for as `name@hash`.

The hash is the checkpoint's id, the hash of all it contains, so a reference means the same weights
on every machine and for ever; what was damaged or exchanged on disk is refused when it is loaded.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rlco_policy_server.references import CheckpointReferenceError

REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64})@(?P<hash>[0-9a-f]*)")
MIN_HASH = 6
HASH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class ModelStore:
    """The store in `folder`, which need not be there yet."""

    folder: Path

    def find(self, reference: str) -> tuple[Path, str]:
        """Return the folder and the full hash of `name@hash`; the hash may be shortened.

        Raises:
            CheckpointReferenceError: if it names none or several, saying what there is.
        """
        match = REFERENCE.fullmatch(reference)
        if match is None:
            raise CheckpointReferenceError(
                f"{reference!r} is not NAME@HASH, as 'rlco-serve models' lists them"
            )
        name, start = match["name"], match["hash"]
        there = self.list().get(name, [])
        found = [known for known in there if known.startswith(start)]
        if len(start) < MIN_HASH or len(found) != 1:
            raise CheckpointReferenceError(
                f"{reference}: {len(found) if len(start) >= MIN_HASH else 'too short a hash for'} "
                f"one of {there or 'no checkpoints'} of that name in {self.folder}; give at least "
                f"{MIN_HASH} digits of one of these"
            )
        return self.folder / name / found[0], found[0]

    def list(self) -> dict[str, list[str]]:
        """Return the hashes that there are of every name."""
        if not self.folder.is_dir():
            return {}
        return {
            path.name: sorted(sub.name for sub in path.iterdir() if HASH.fullmatch(sub.name))
            for path in sorted(self.folder.iterdir())
            if path.is_dir()
        }

    def add(self, checkpoint: Path, *, name: str, checkpoint_id: str) -> str:
        """Copy the checkpoint folder with the id `checkpoint_id` in; return its reference.

        Raises:
            CheckpointReferenceError: if the name is none.
        """
        reference = f"{name}@{checkpoint_id}"
        if REFERENCE.fullmatch(reference) is None:
            raise CheckpointReferenceError(
                f"name {name!r} must be 1 to 64 letters, digits, '_' or '-'"
            )
        target = self.folder / name / checkpoint_id
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
            shutil.copytree(checkpoint, partial)
            partial.replace(target)  # half a checkpoint never shows
        return reference
