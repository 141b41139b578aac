"""Content hashes of files and folders, for provenance."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rlco_datasets.spec import HASH_LENGTH


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Return 16 hex digits of the SHA-256 of a file, or of a folder's names and contents.

    Raises:
        OSError: if there is nothing at `path` or it cannot be read.
    """
    path = Path(path)
    if path.is_file():
        return _file_digest(path)[:HASH_LENGTH]
    names = sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: nothing there to take a hash of. Check the path.")
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{_file_digest(path / name)}\n".encode())
    return digest.hexdigest()[:HASH_LENGTH]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
