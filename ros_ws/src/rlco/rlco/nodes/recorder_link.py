"""The recorder's end of its writing process: hands samples over without ever waiting."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError
from rlco_datasets.episode import EpisodeMetadata
from rlco_datasets.store import StoreError

from rlco.core.buffer import BoundedBuffer
from rlco.nodes.recorder_worker import SAMPLE, WorkerSettings

END_TIMEOUT_S = 60.0
"""How long the last write may take before the process is killed."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """An episode that is in the store."""

    index: int
    steps: int
    flags: tuple[str, ...]
    notes: dict[str, str] = field(default_factory=dict)
    """Flag -> what a person should know about it."""

    @property
    def warning(self) -> str:
        """What a person should look at; "" where nothing was flagged."""
        told = [
            f"{flag} ({self.notes[flag]})" if flag in self.notes else flag for flag in self.flags
        ]
        return f"flagged {', '.join(told)}" if told else ""


class WriterDiedError(OSError):
    """The writing process ended by itself; committed episodes are safe."""


class EpisodeWriter:
    """Writes episodes in a process of its own; samples wait in a bounded buffer."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        capacity_bytes: int,
        complain: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Start the process and wait until it has opened the store.

        `complain` is called, in a thread, with what the process could not read or keep.

        Raises:
            StoreError: if the store cannot be opened or made.
            ContractMismatchError: if it holds episodes of another contract.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rlco.nodes.recorder_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )
        self._link = Connection(ours.detach())
        self._store = settings.store
        self._complain = complain
        self._numbers = {topic: number for number, topic in enumerate(settings.topics.all)}
        self._buffer = BoundedBuffer(capacity_bytes)
        self._writing: Future[Written] | None = None
        self._closing = self._gone = False
        self._lock = threading.Lock()
        ready = self._open(settings)
        self.recovered: str = ready["recovered"]
        """What opening the store removed of an interrupted append, or ""."""
        self.episodes: int = ready["episodes"]
        """The number of committed episodes."""
        self.committed: int = ready["committed"]
        """How many of them are successes of this session, when the store was opened."""
        self._threads = [
            threading.Thread(target=self._send, name="recorder_send", daemon=True),
            threading.Thread(target=self._receive, name="recorder_receive", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _open(self, settings: WorkerSettings) -> dict[str, Any]:
        self._link.send_bytes(json.dumps(spec.to_plain(settings)).encode())
        try:
            reply: dict[str, Any] = json.loads(self._link.recv_bytes())
        except (EOFError, OSError) as error:
            raise StoreError("the writing process did not start; see its output above") from error
        if "error" in reply:
            self._process.wait(END_TIMEOUT_S)
            self._link.close()
            raise (ContractMismatchError if reply["mismatch"] else StoreError)(reply["error"])
        return reply

    @property
    def alive(self) -> bool:
        """Whether the process runs and listens."""
        return not self._gone and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def free_mb(self) -> float:
        """Return the free space on the store's disk."""
        return shutil.disk_usage(self._store).free / 1e6

    @property
    def buffer_used(self) -> float:
        """The share of the buffer that waits for the process."""
        return self._buffer.used

    def begin(self) -> None:
        """Begin an episode; one that was not finished is dropped."""
        self._order(command="begin")

    def offer(self, topic: str, stamp_ns: int, raw: bytes) -> bool:
        """Hand a serialized message over; return False at once if the buffer has no room."""
        return self._buffer.offer(SAMPLE.pack(self._numbers[topic], stamp_ns), raw)

    def finish(self, metadata: EpisodeMetadata, *, last_ns: int = 0) -> Future[Written]:
        """Build the episode (see `episode_builder.build`) and append it.

        The future raises `EpisodeError`s as ValueError, or OSError if the disk or the process
        failed; whatever it raises, the episodes before are safe.
        """
        writing: Future[Written] = Future()
        with self._lock:
            self._writing = writing
        self._order(command="finish", metadata=spec.to_plain(metadata), last_ns=last_ns)
        if not self.alive:
            self._lost()
        return writing

    def discard(self) -> None:
        """Drop the episode."""
        self._order(command="discard")

    def close(self) -> None:
        """Let a write that has begun finish, then end the process."""
        if self._closing:
            return
        self._closing = True
        with self._lock:
            writing = self._writing
        self._buffer.close(drop=writing is None)
        if writing is not None and self.alive:
            writing.exception(END_TIMEOUT_S)
        try:
            self._socket_shutdown()
            self._threads[0].join(END_TIMEOUT_S)
            self._process.wait(END_TIMEOUT_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
        self._threads[1].join(END_TIMEOUT_S)
        self._link.close()

    def _socket_shutdown(self) -> None:
        with socket.socket(fileno=self._link.fileno()) as end:
            try:
                end.shutdown(socket.SHUT_WR)  # wakes a sender that waits, too
            except OSError:
                self._lost()  # the process is gone already
            finally:
                end.detach()

    def _order(self, **words: Any) -> None:
        self._buffer.put(json.dumps(words).encode())

    def _send(self) -> None:
        while (item := self._buffer.take()) is not None:
            try:
                self._link.send_bytes(item)
            except OSError:
                self._lost()
                return

    def _receive(self) -> None:
        while True:
            try:
                words = json.loads(self._link.recv_bytes())
            except (EOFError, OSError):
                self._lost()
                return
            if "problem" in words:
                self._complain(words["problem"])
            elif "error" in words:
                self._resolve(error=StoreError(words["error"]))
            else:
                written = words["written"]
                self.episodes = written["index"] + 1
                self._resolve(
                    Written(
                        index=written["index"],
                        steps=written["steps"],
                        flags=tuple(written["flags"]),
                        notes=written["notes"],
                    )
                )

    def _lost(self) -> None:
        told, self._gone = self._gone, True
        if not self._closing and not told:
            self._complain(
                "the writing process ended by itself (killed, or out of memory?). Committed "
                "episodes are safe; the next start begins a new one."
            )
        self._resolve(error=WriterDiedError("the writing process ended before the episode was in"))

    def _resolve(self, written: Written | None = None, *, error: Exception | None = None) -> None:
        with self._lock:
            writing, self._writing = self._writing, None
        if writing is None:
            return
        if written is not None:
            writing.set_result(written)
        else:
            writing.set_exception(error)
