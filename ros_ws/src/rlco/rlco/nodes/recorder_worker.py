"""The recorder's writing process: serialized messages in, episodes of the store out.

Started by `rlco.nodes.recorder_link` with one end of a socket. Each message of the link is a byte
string: `{` begins JSON with a `command`; a sample is its topic's number and stamp (`SAMPLE`), then
the serialized message. The process ends when the other end closes, after the write it is in; what
was not committed by then is dropped. Signals are the parent's business.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rlco_datasets import spec
from rlco_datasets.contract import Contract, ContractMismatchError
from rlco_datasets.episode import Episode, EpisodeMetadata
from rlco_datasets.store import EpisodeStore, StoreError

from rlco.core.episode_builder import build
from rlco.core.recording import RecordedTopics, Recording
from rlco.nodes.raw_bag import RawBag
from rlco.nodes.recorded import readers

SAMPLE = struct.Struct("<Hq")
SESSION = "session"
"""The key of an episode's `extra` metadata that names its recording session."""
NICENESS = 5
"""The callbacks in the parent come first."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What the writing process needs to know."""

    store: str
    contract: Contract
    topics: RecordedTopics
    session: str
    raw: bool
    """Also keep every message in an MCAP bag beside the store."""


def open_store(path: Path, contract: Contract) -> EpisodeStore:
    """Open the store at `path` for append, or make it.

    Raises:
        StoreError: if it cannot be opened or made.
        ContractMismatchError: if it holds episodes of another contract.
    """
    if path.is_dir() and any(path.iterdir()):
        return EpisodeStore.open(path, mode="a", contract=contract)
    return EpisodeStore.create(path, contract)


class Worker:
    """Owns the store; does what the link says."""

    def __init__(self, link: Connection, settings: WorkerSettings, store: EpisodeStore) -> None:
        """Take an open store."""
        self._link = link
        self._settings = settings
        self._store = store
        self._topics = settings.topics.all
        self._readers = readers(settings.topics, settings.contract)
        self._recording = Recording(settings.topics, settings.contract)
        self._bag: RawBag | None = None
        self._frames: dict[str, tuple[int, bytes] | None] = {}
        self._unreadable: set[str] = set()

    def serve(self) -> None:
        """Serve until the link closes."""
        done = range(len(self._store))
        mine = sum(self._belongs(self._store.metadata(index)) for index in done)
        self._say(
            ready=True,
            recovered=str(self._store.recovered or ""),
            episodes=len(self._store),
            committed=mine,
        )
        while True:
            try:
                message = self._link.recv_bytes()
                if message[:1] == b"{":
                    self._obey(json.loads(message))
                else:
                    self._sample(message, self._link.recv_bytes())
            except (EOFError, ConnectionResetError):
                return
            except OSError as error:
                if self._link.closed or "end of file" in str(error):
                    return  # the other end was closed in the middle of a sample
                raise

    def close(self) -> None:
        """Drop what is not committed and close the store."""
        self._drop()
        self._store.close()

    def _belongs(self, metadata: EpisodeMetadata) -> bool:
        same = metadata.extra.get(SESSION, "") == self._settings.session
        return same and metadata.outcome == "success"

    def _obey(self, order: dict[str, Any]) -> None:
        if order["command"] == "begin":
            self._begin()
        elif order["command"] == "discard":
            self._drop()
        else:
            self._finish(order)

    def _begin(self) -> None:
        self._drop()
        self._unreadable.clear()
        self._recording = Recording(self._settings.topics, self._settings.contract)
        if self._settings.raw:
            types = {topic: self._readers[topic].type_name for topic in self._topics}
            try:
                self._bag = RawBag(Path(self._settings.store), types)
            except OSError as error:
                self._say(problem=f"the raw bag cannot be written: {error}", topic="")

    def _drop(self) -> None:
        self._frames = dict.fromkeys(self._settings.topics.images.values())
        self._recording = Recording(self._settings.topics, self._settings.contract)
        if self._bag is not None:
            self._bag.discard()
            self._bag = None

    def _sample(self, head: bytes, raw: bytes) -> None:
        number, stamp_ns = SAMPLE.unpack(head)
        topic = self._topics[number]
        if self._bag is not None:
            try:
                self._bag.write(topic, stamp_ns, raw)
            except OSError as error:
                self._bag = None
                self._say(problem=f"the raw bag ends here: {error}", topic="")
        if topic not in self._frames:
            self._push(topic, stamp_ns, raw)
            return
        # A frame is worth decoding when the next one shows that the contract's rate needs it.
        earlier, self._frames[topic] = self._frames[topic], (stamp_ns, raw)
        if earlier is not None and self._recording.needs(topic, earlier[0], stamp_ns):
            self._push(topic, *earlier)

    def _push(self, topic: str, stamp_ns: int, raw: bytes) -> None:
        try:
            value = self._readers[topic].read(raw)
        except ValueError as error:
            if topic not in self._unreadable:
                self._unreadable.add(topic)
                self._say(problem=f"{topic}: not recorded: {error}", topic=topic)
            return
        self._recording.push(topic, stamp_ns, value)

    def _finish(self, order: dict[str, Any]) -> None:
        metadata = spec.from_plain(EpisodeMetadata, order["metadata"], where="recorder")
        for topic, frame in self._frames.items():
            if frame is not None:
                self._push(topic, *frame)
        try:
            built = build(
                self._recording.streams, self._settings.contract, last_ns=order["last_ns"]
            )
            episode = Episode(
                metadata=replace(
                    metadata,
                    flags=(*metadata.flags, *built.flags),
                    extra={**metadata.extra, **built.notes},
                ),
                images=built.images,
                state=built.state,
                actions=built.actions,
                stamps_ns=built.stamps_ns,
                extras=built.extras,
            )
            index = self._store.append(episode)
            if self._bag is not None:
                self._bag.commit(index)
                self._bag = None
        except (ValueError, OSError) as error:
            self._say(error=str(error))
            return
        finally:
            self._drop()
        flags = list(episode.metadata.flags)
        self._say(
            written={"index": index, "steps": len(episode), "flags": flags, "notes": built.notes}
        )

    def _say(self, **words: Any) -> None:
        self._link.send_bytes(json.dumps(words).encode())


def main() -> None:
    """Serve the link whose file descriptor is the only argument."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    link = Connection(int(sys.argv[1]))
    settings = spec.from_plain(WorkerSettings, json.loads(link.recv_bytes()), where="recorder")
    try:
        store = open_store(Path(settings.store), settings.contract)
    except (StoreError, ContractMismatchError, OSError) as error:
        mismatch = isinstance(error, ContractMismatchError)
        link.send_bytes(json.dumps({"error": str(error), "mismatch": mismatch}).encode())
        return
    worker = Worker(link, settings, store)
    try:
        worker.serve()
    except (BrokenPipeError, ConnectionResetError):
        print("the recorder is gone; what it had not stopped is not recorded", file=sys.stderr)
    finally:
        worker.close()


if __name__ == "__main__":
    main()
