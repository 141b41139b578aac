"""Writes episodes to the store in a thread of its own, so that nothing else waits for the disk."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rlco_datasets.contract import Contract
from rlco_datasets.episode import Episode, EpisodeMetadata
from rlco_datasets.store import EpisodeStore

from rlco.core.episode_builder import Streams, build


@dataclass(frozen=True, kw_only=True)
class Written:
    """An episode that is in the store."""

    index: int
    steps: int
    flags: tuple[str, ...]


class EpisodeWriter:
    """Owns the store of a recording session."""

    def __init__(self, path: str, contract: Contract) -> None:
        """Open the store at `path` for append, or make it.

        Raises:
            StoreError: if it cannot be opened or made.
            ContractMismatchError: if it holds episodes of another contract.
        """
        self._path = Path(path)
        self._contract = contract
        if self._path.is_dir() and any(self._path.iterdir()):
            self._store = EpisodeStore.open(self._path, mode="a", contract=contract)
        else:
            self._store = EpisodeStore.create(self._path, contract)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="episode_writer")

    @property
    def recovered(self) -> str:
        """What opening the store removed of an interrupted append, or ""."""
        return str(self._store.recovered or "")

    @property
    def episodes(self) -> int:
        """The number of committed episodes."""
        return len(self._store)

    def free_mb(self) -> float:
        """Return the free space on the store's disk."""
        return shutil.disk_usage(self._path).free / 1e6

    def write(
        self, streams: Streams, metadata: EpisodeMetadata, *, last_ns: int = 0
    ) -> Future[Written]:
        """Build an episode (see `build`) and append it, in the background.

        The future raises `EpisodeGapError`, `EpisodeError` or `StoreError`; whatever it raises,
        the episodes before are safe.
        """
        return self._thread.submit(self._write, streams, metadata, last_ns)

    def close(self) -> None:
        """Let a write that has begun finish, then close the store."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._store.close()

    def _write(self, streams: Streams, metadata: EpisodeMetadata, last_ns: int) -> Written:
        built = build(streams, self._contract, last_ns=last_ns)
        episode = Episode(
            metadata=replace(metadata, flags=(*metadata.flags, *built.flags)),
            images=built.images,
            state=built.state,
            actions=built.actions,
            stamps_ns=built.stamps_ns,
        )
        index = self._store.append(episode)
        return Written(index=index, steps=len(episode), flags=episode.metadata.flags)
