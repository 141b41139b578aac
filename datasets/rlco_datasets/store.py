"""The episode store: one folder of episodes that no crash can corrupt.

UMI / diffusion_policy layout, zarr format 2, so that their `ReplayBuffer`, zarr and tensorstore
read it as it is:

    .zattrs                      store version and the contract
    data/state                   (N, S) float32, all episodes joined in time
    data/action                  (N, 7) float32
    data/camera_<name>           (N, H, W, 3) uint8, one frame a chunk file
    data/stamp_ns_<stream>       (N,) int64; a slash in the stream's name becomes a dot
    data/extra_<name>            (N, ...) numbers
    meta/episode_ends            (E,) int64: an episode exists if, and only if, its end is here
    meta/episodes.jsonl          line i: the `EpisodeMetadata` of episode i
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlco_datasets.closing import Closing
from rlco_datasets.contract import Contract, require_same_contract
from rlco_datasets.durable import FileLock, LockedError
from rlco_datasets.episode import Episode, EpisodeError, EpisodeMetadata, check_episode
from rlco_datasets.reading import ArrayReader, ReadError
from rlco_datasets.store_folder import (
    ACTION,
    CAMERA,
    EXTRA,
    STAMP,
    STATE,
    StoreError,
    StoreFolder,
    Tail,
    arrays_of,
    make_empty,
    read_contract,
    stream_of,
)

__all__ = ["Episode", "EpisodeError", "EpisodeMetadata", "EpisodeStore", "StoreError", "Tail"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EpisodeStore(Closing):
    """Episodes of one contract in one folder. Open it with `create` or `open`."""

    recovered: Tail | None = None
    """What opening for append removed of an interrupted append; None if there was nothing."""

    def __init__(self, folder: StoreFolder, lock: FileLock | None) -> None:
        """Wrap a loaded folder; use `create` or `open` instead."""
        self._folder = folder
        self._lock = lock
        self._readers: dict[str, ArrayReader] = {}
        self._interrupted = False

    @classmethod
    def create(cls, path: str | os.PathLike[str], contract: Contract) -> EpisodeStore:
        """Make an empty store for `contract` and open it for append.

        Raises:
            StoreError: if something is already there, or the disk refuses.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(
                f"{path} already exists; open it with mode 'a' to add to it, or name a new folder"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            make_empty(path, contract)
        except OSError as error:
            raise StoreError(_disk_message(path, "create the store", error)) from error
        return cls.open(path, "a")

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        mode: Literal["r", "a"] = "r",
        contract: Contract | None = None,
    ) -> EpisodeStore:
        """Open a store to read ("r") or to read and append ("a": one writer at a time).

        Reading changes nothing and ignores what an interrupted append left. Opening for append
        removes it and says so in `recovered`. A store of another contract than `contract` is
        refused.

        Raises:
            StoreError: if it is not a store, is damaged, of another version, or has a writer.
            ContractMismatchError: if it holds another contract than `contract`.
        """
        path = Path(path)
        if mode not in ("r", "a"):
            raise ValueError(f"mode must be 'r' or 'a', got {mode!r}")
        stored = read_contract(path)
        if contract is not None:
            require_same_contract(contract, stored, where=str(path))
        if mode == "r":
            return cls(StoreFolder(path), None)
        try:
            lock = FileLock(path / "meta" / ".lock")
        except LockedError as error:
            raise StoreError(
                f"{path} is open for writing in process {error.holder}; close that one first, or "
                "open it with mode 'r'"
            ) from error
        except OSError as error:
            raise StoreError(_disk_message(path, "open the store for append", error)) from error
        try:
            store = cls(StoreFolder(path), lock)
            store.recovered = store.tail
            if store.tail is not None:
                store._folder.trim()
        except OSError as error:
            lock.release()
            what = "remove what an interrupted append left"
            raise StoreError(_disk_message(path, what, error)) from error
        except BaseException:
            lock.release()
            raise
        return store

    def close(self) -> None:
        """Let another writer in; reading goes on working."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __len__(self) -> int:
        return len(self._folder.ends)

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._folder.path

    @property
    def contract(self) -> Contract:
        """The contract that every episode was recorded under."""
        return self._folder.contract

    @property
    def tail(self) -> Tail | None:
        """What an interrupted append had left when the store was opened; None if nothing."""
        return self._folder.tail

    @property
    def steps_total(self) -> int:
        """The number of steps of all episodes."""
        return self._folder.steps

    @property
    def ends(self) -> NDArray[np.int64]:
        """`(E,)`: the row after each episode's last; rows count over all episodes."""
        return self._folder.ends.copy()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`(E,)`: the number of steps of each episode."""
        return np.diff(self._folder.ends, prepend=0)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the arrays, for `steps`."""
        return tuple(sorted(self._folder.arrays))

    def metadata(self, index: int) -> EpisodeMetadata:
        """Return what is known about one episode; a negative index counts from the end."""
        return self._folder.metadata[self._index(index)]

    def rows(self, index: int) -> slice:
        """Return the rows of one episode; a negative index counts from the end."""
        index = self._index(index)
        ends = self._folder.ends
        return slice(int(ends[index - 1]) if index else 0, int(ends[index]))

    def steps(self, key: str, rows: ArrayLike | slice) -> NDArray[Any]:
        """Return `(R, ...)`: rows of the array `key` (`state`, `action`, `camera_<name>`, ...).

        `rows` is a slice of step 1 or `(R,)` whole numbers, in any order, repeats allowed.

        Raises:
            StoreError: if there is no such key or row, or a file is damaged.
        """
        if key not in self._folder.arrays:
            raise StoreError(f"{self.path} has no array {key!r}, only {list(self.keys)}")
        if isinstance(rows, slice):
            first, stop, stride = rows.indices(self.steps_total)
            if stride != 1:
                raise StoreError("steps: a slice must have step 1; pass an array of rows instead")
            chosen: slice | NDArray[np.int64] = slice(first, max(first, stop))
        else:
            chosen = np.asarray(rows, np.int64).reshape(-1)
            if chosen.size and not 0 <= chosen.min() <= chosen.max() < self.steps_total:
                raise StoreError(
                    f"{self.path}: rows {chosen.min()} to {chosen.max()} asked for, the store has "
                    f"rows 0 to {self.steps_total - 1}"
                )
        try:
            if key not in self._readers:
                self._readers[key] = ArrayReader(self._folder.arrays[key].folder)
            return self._readers[key].rows(chosen)
        except ReadError as error:
            raise StoreError(
                f"{error}. The file was damaged after it was written: restore it from a backup; "
                f"`rlco-data check {self.path}` lists the episodes that cannot be read."
            ) from error

    def episode(self, index: int) -> Episode:
        """Return one whole episode; a negative index counts from the end."""
        rows = self.rows(index)
        cut = {key: self.steps(key, rows) for key in self.keys}
        return Episode(
            metadata=self.metadata(index),
            images={name: cut[CAMERA + name] for name in self.contract.camera_names},
            state=cut[STATE],
            actions=cut[ACTION],
            stamps_ns={stream_of(k): v for k, v in cut.items() if k.startswith(STAMP)},
            extras={k.removeprefix(EXTRA): v for k, v in cut.items() if k.startswith(EXTRA)},
        )

    def append(self, episode: Episode) -> int:
        """Add an episode; when this returns its index, no crash can lose it any more.

        Raises:
            EpisodeError: if the contract does not describe the episode.
            StoreError: if the store is not open for append, the episode's streams or extras are not
                those of the store, or the disk refuses. Earlier episodes stay as they were, and
                once the cause is gone the same episode can be appended again.
        """
        if self._lock is None:
            raise StoreError(f"{self.path} is not open for append; open it with mode 'a'")
        check_episode(episode, self.contract)
        data = arrays_of(episode)
        try:
            if self._interrupted:
                self._restore()
            self._check_same_arrays(data)
            self._interrupted = True
            self._folder.commit(data, episode.metadata)
            self._interrupted = False
        except OSError as error:
            with contextlib.suppress(OSError):  # Else the next append, or the next open, does it.
                self._restore()
            what = f"append episode {len(self)}"
            raise StoreError(_disk_message(self.path, what, error)) from error
        self._readers.clear()
        return len(self) - 1

    def _restore(self) -> None:
        self._folder.load()
        self._folder.trim()
        self._readers.clear()
        self._interrupted = False

    def _check_same_arrays(self, data: dict[str, NDArray[Any]]) -> None:
        if not len(self):
            return
        if set(data) != set(self.keys):
            raise StoreError(
                f"{self.path}: the episode has the arrays {sorted(data)}, the store has "
                f"{list(self.keys)}. All episodes of a store have the same stamp streams and "
                "extras; record this one into a store of its own."
            )
        for key, values in data.items():
            array = self._folder.arrays[key]
            if values.shape[1:] != array.row_shape or values.dtype != np.dtype(array.dtype):
                raise StoreError(
                    f"{self.path}: {key} is {values.dtype} {values.shape[1:]} a step, the store "
                    f"holds {np.dtype(array.dtype)} {array.row_shape}; record this episode into a "
                    "store of its own"
                )

    def _index(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} episodes, asked for number {index}")
        return index % len(self)


def _disk_message(path: Path, what: str, error: OSError) -> str:
    remedy = "Check that the folder is on a mounted disk that you may write to"
    if error.errno in _FULL:
        remedy = (
            "The disk, quota or file size limit is reached: free some space and append again; "
            "the episodes before it are safe"
        )
    return f"{path}: cannot {what}: {error.strerror} ({error.filename or path}). {remedy}."
