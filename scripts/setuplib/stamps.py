"""Fingerprints of each step's inputs, kept inside the virtual environment."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


def fingerprint(*, files: Iterable[Path] = (), values: Iterable[str] = ()) -> str:
    """Return a hash over the names and contents of `files` and over `values`, in order.

    A file that does not exist counts as such, so that its arrival changes the hash.
    """
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"absent")
        digest.update(b"\0")
    for value in values:
        digest.update(f"{value}\0".encode())
    return digest.hexdigest()


def files_under(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files below `folder` with one of `suffixes`, sorted; none if it is absent."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in suffixes)


@dataclass(frozen=True)
class Stamps:
    """One small file a step; removing the virtual environment removes them too."""

    folder: Path

    def matches(self, step: str, expected: str) -> bool:
        """Whether `step` was last finished with exactly the inputs of `expected`."""
        try:
            return (self.folder / step).read_text(encoding="ascii") == expected
        except FileNotFoundError:
            return False

    def write(self, step: str, value: str) -> None:
        """Remember that `step` is finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{step}.partial"
        partial.write_text(value, encoding="ascii")
        partial.replace(self.folder / step)

    def clear(self, step: str) -> None:
        """Forget `step`, because it is about to run."""
        (self.folder / step).unlink(missing_ok=True)
