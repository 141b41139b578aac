"""Files that survive a kill and a power cut: atomic replacement, fsync and an exclusive lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARTIAL = ".partial"
SYNC_THREADS = 16


def write_file(path: Path, data: bytes) -> None:
    """Write a file that nobody looks at yet; call `sync` before anything refers to it."""
    with path.open("wb") as file:
        file.write(data)


def replace_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data` at once and durably: readers see the old or the new file."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync([path.parent])


def sync(paths: Iterable[Path]) -> None:
    """Force files and folders to disk.

    Many at once: each fsync waits for the disk, and the file system joins waits that overlap
    (300 frames: 0.45 s one after the other, 0.08 s by 16 threads, ext4).
    """
    paths = list(paths)
    if len(paths) <= 2:
        for path in paths:
            _sync(path)
        return
    with ThreadPoolExecutor(max_workers=min(SYNC_THREADS, len(paths))) as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LockedError(RuntimeError):
    """Another process holds the lock."""

    def __init__(self, holder: str) -> None:
        """Remember who holds it, as that process wrote it."""
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """An exclusive advisory lock. The kernel drops it when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once or raise `LockedError` with the holder's process id."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 64, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise LockedError(holder or "unknown") from error
        os.ftruncate(self._descriptor, 0)
        try:
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            # The id only serves the error message; a full disk must not prevent the clean-up.
            os.ftruncate(self._descriptor, 0)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
