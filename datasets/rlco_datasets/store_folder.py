"""The files of an episode store: their layout, the commit protocol and recovery.

`commit` writes everything else first, forces it to disk, and then replaces the metadata file of
`meta/episode_ends`: the one atomic commit mark. What a killed writer left lies past the last end;
`load` ignores it and `trim` removes it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlco_datasets import spec
from rlco_datasets.contract import ACTION_DIM, Contract, contract_from_plain
from rlco_datasets.durable import sync, write_file
from rlco_datasets.episode import STEP_STREAM, Episode, EpisodeMetadata
from rlco_datasets.zarr_array import ArrayError, ZarrArray

STORE_VERSION = 1
STATE, ACTION = "state", "action"
CAMERA, STAMP, EXTRA = "camera_", "stamp_ns_", "extra_"
_ENDS_CHUNK_ROWS = 1024


class StoreError(ValueError):
    """A store cannot be opened, read or written; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """What an interrupted writer left past the last committed episode."""

    steps: int
    files: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.steps} uncommitted steps in {self.files} files"


def arrays_of(episode: Episode) -> dict[str, NDArray[Any]]:
    """Return the arrays of an episode under their names in the store."""
    return {
        STATE: episode.state,
        ACTION: episode.actions,
        **{CAMERA + name: frames for name, frames in episode.images.items()},
        **{STAMP + s.replace("/", "."): stamps for s, stamps in episode.stamps_ns.items()},
        **{EXTRA + name: values for name, values in episode.extras.items()},
    }


def stream_of(key: str) -> str:
    """Return the stamp stream that the array `key` holds."""
    return key.removeprefix(STAMP).replace(".", "/")


class StoreFolder:
    """The committed state of the store in `path`, as it was when last loaded."""

    def __init__(self, path: Path) -> None:
        """Load the folder.

        Raises:
            StoreError: if it is not a store, of another version, or damaged.
        """
        self.path = path
        self.contract = read_contract(path)
        self.arrays: dict[str, ZarrArray] = {}
        self.ends: NDArray[np.int64] = np.empty(0, np.int64)
        self.metadata: list[EpisodeMetadata] = []
        self.tail: Tail | None = None
        self.load()

    @property
    def steps(self) -> int:
        """The number of committed steps."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def load(self) -> None:
        """Read the committed state again and check that all its files are there."""
        try:
            self._ends_array, episodes = ZarrArray.load(self.path / "meta" / "episode_ends")
            chunks = range(self._ends_array.chunks_for(episodes))
            stored = [self._ends_array.read_chunk(index) for index in chunks]
            ends = np.concatenate([*stored, np.empty(0, np.int64)])[:episodes].astype(np.int64)
            if (np.diff(ends, prepend=0) <= 0).any():
                raise ArrayError(f"{self._ends_array.folder}: the episode ends do not increase")
            self.ends = ends
            self.metadata = self._read_metadata()
            self._load_arrays()
        except ArrayError as error:
            raise StoreError(
                f"{self.path} is damaged: {error}. Restore it from a backup."
            ) from error

    def commit(self, data: dict[str, NDArray[Any]], metadata: EpisodeMetadata) -> None:
        """Add one episode of `data` `(T, ...)`; durable when this returns.

        Raises:
            OSError: if the disk refuses; `load` and `trim` then restore what was there before.
        """
        start, stop = self.steps, self.steps + len(data[ACTION])
        written = [self._episodes_file, self.path / "data"]
        for key, values in data.items():
            if key not in self.arrays:
                array = ZarrArray.for_rows(self.path / "data" / key, values)
                array.folder.mkdir(exist_ok=True)
                array.set_rows(0)
                self.arrays[key] = array
            array = self.arrays[key]
            written += [*array.write(start, values), array.folder]
        line = json.dumps(spec.to_plain(metadata), sort_keys=True, allow_nan=False) + "\n"
        with self._episodes_file.open("ab") as file:
            file.write(line.encode())
        end = np.array([stop], np.int64)
        written += [*self._ends_array.write(len(self.ends), end), self._ends_array.folder]
        sync(written)
        for array in self.arrays.values():
            array.set_rows(stop)
        self._ends_array.set_rows(len(self.ends) + 1)  # The commit mark.
        self.ends = np.concatenate([self.ends, end])
        self.metadata.append(metadata)

    def trim(self) -> None:
        """Remove everything past the last committed episode; raises `OSError`."""
        for folder in self._data_folders():
            array = self.arrays.get(folder.name)
            if array is None or (not self.steps and folder.name not in self._required):
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()
                self.arrays.pop(folder.name, None)
                continue
            for path in array.strays(self.steps):
                path.unlink()
            if ZarrArray.load(folder)[1] != self.steps:
                array.set_rows(self.steps)
        for path in self._ends_array.strays(len(self.ends)):
            path.unlink()
        with self._episodes_file.open("r+b") as file:
            for _ in range(len(self.ends)):
                file.readline()
            file.truncate(file.tell())
        sync([self.path / "data", self.path / "meta", self._episodes_file])

    @property
    def _episodes_file(self) -> Path:
        return self.path / "meta" / "episodes.jsonl"

    @property
    def _required(self) -> set[str]:
        cameras = (CAMERA + name for name in self.contract.camera_names)
        return {STATE, ACTION, *cameras, *([STAMP + STEP_STREAM] if self.steps else [])}

    def _data_folders(self) -> list[Path]:
        try:
            return sorted(path for path in (self.path / "data").iterdir() if path.is_dir())
        except FileNotFoundError as error:
            raise ArrayError(f"{self.path / 'data'} is missing") from error

    def _load_arrays(self) -> None:
        self.arrays = {}
        last = files = 0
        for folder in self._data_folders():
            if not self.steps and folder.name not in self._required:
                files += 1  # Made by an interrupted first append, which may not have finished it.
                continue
            array, rows = ZarrArray.load(folder)
            missing = array.missing(self.steps)
            if missing or rows < self.steps:
                what = f"{missing[0]} is missing" if missing else f"{folder} has {rows} rows"
                raise ArrayError(f"{what}, but the episodes need {self.steps} rows")
            self.arrays[folder.name] = array
            files += len(array.strays(self.steps))
            frames = max(array.chunk_files(), default=-1) + 1 if array.chunk_rows == 1 else 0
            last = max(last, rows, frames)
        lost = sorted(self._required - set(self.arrays))
        if lost:
            raise ArrayError(f"{self.path / 'data'} lacks the arrays {lost}")
        lines = self._episodes_file.read_bytes().split(b"\n")
        files += any(lines[len(self.ends) :])
        steps = max(0, last - self.steps)
        self.tail = Tail(steps=steps, files=files) if steps or files else None

    def _read_metadata(self) -> list[EpisodeMetadata]:
        file, episodes = self._episodes_file, len(self.ends)
        try:
            lines = file.read_bytes().split(b"\n")[:episodes]
        except OSError as error:
            raise ArrayError(f"{file} cannot be read ({error})") from error
        if len(lines) < episodes:
            raise ArrayError(f"{file} has {len(lines)} lines for {episodes} episodes")
        found = []
        for number, line in enumerate(lines, 1):
            where = f"{file}, line {number}"
            try:
                found.append(spec.from_plain(EpisodeMetadata, json.loads(line), where=where))
            except ValueError as error:
                raise ArrayError(f"{where}: {error}") from error
        return found


def make_empty(path: Path, contract: Contract) -> None:
    """Build an empty store beside `path` and move it there: half a store never shows."""
    new = path.with_name(f"{path.name}.{os.getpid()}.partial")
    for folder in (new / "data", new / "meta"):
        folder.mkdir(parents=True)
    for folder in (new, new / "data", new / "meta"):
        write_file(folder / ".zgroup", b'{"zarr_format": 2}\n')
    stamp = {"version": STORE_VERSION, "contract_id": contract.id}
    attributes = {"rlco": {**stamp, "contract": spec.to_plain(contract)}}
    write_file(new / ".zattrs", json.dumps(attributes, indent=1).encode())
    write_file(new / "meta" / "episodes.jsonl", b"")
    arrays: list[tuple[str, NDArray[Any], int | None]] = [
        (f"data/{STATE}", np.empty((0, contract.state_dim), np.float32), None),
        (f"data/{ACTION}", np.empty((0, ACTION_DIM), np.float32), None),
        ("meta/episode_ends", np.empty(0, np.int64), _ENDS_CHUNK_ROWS),
    ]
    for camera in contract.cameras:
        frames = np.empty((0, camera.height, camera.width, 3), np.uint8)
        arrays.append((f"data/{CAMERA}{camera.name}", frames, 1))
    for name, values, chunk_rows in arrays:
        array = ZarrArray.for_rows(new / name, values, chunk_rows=chunk_rows)
        array.folder.mkdir()
        array.set_rows(0)
    files = [new / ".zgroup", new / ".zattrs", new / "data" / ".zgroup", new / "meta" / ".zgroup"]
    sync([*files, new / "meta" / "episodes.jsonl", new / "data", new / "meta", new])
    new.replace(path)
    sync([path.parent])


def read_contract(path: Path) -> Contract:
    """Return the contract stamped into the store at `path`; raises `StoreError`."""
    if not path.is_dir():
        raise StoreError(f"{path} does not exist or is not a folder; name the store's folder")
    file = path / ".zattrs"
    try:
        stamp = json.loads(file.read_bytes())["rlco"]
        version, contract_id, data = stamp["version"], stamp["contract_id"], stamp["contract"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is not an rlco episode store: {file} gives {error!r}. Name the folder that "
            "the recorder or `EpisodeStore.create` made; it holds .zattrs, data/ and meta/."
        ) from error
    if version != STORE_VERSION:
        raise StoreError(
            f"{path} is a store of version {version!r}; this software reads {STORE_VERSION}. "
            "Use the rlco release that wrote it."
        )
    contract = contract_from_plain(data, where=str(file))
    if contract.id != contract_id:
        raise StoreError(
            f"{file}: the contract's fields hash to {contract.id}, its stamp says {contract_id}: "
            "it was edited by hand. Restore the file."
        )
    return contract
