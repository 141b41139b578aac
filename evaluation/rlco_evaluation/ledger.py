"""The trial ledger: an append-only JSONL file that no crash and no quiet edit can bend.

Line 1 names the study and its contract; every further line is a trial or an event. Lines are
hash-chained (`rlco_evaluation.chain`), and on disk (fsync) before `append` returns. The chain shows
edits, insertions and removals; that the last lines were cut off shows only against a head hash
noted elsewhere (a report prints it).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from rlco_datasets import spec
from rlco_datasets.closing import Closing

from rlco_evaluation import chain
from rlco_evaluation.records import NO_MILESTONE, Event, Header, TrialRecord
from rlco_evaluation.schedule import Trial, schedule
from rlco_evaluation.study import Study


class LedgerError(ValueError):
    """A ledger is damaged, belongs to another study, is in use, or a record does not fit it."""


class Ledger(Closing):
    """The record of one study's trials.

    Open it with `Ledger.open`; use it as a context manager, or `close` it. One process may append
    at a time; any number may read.
    """

    header: Header

    def __init__(
        self, path: Path, file_descriptor: int, parsed: chain.Parsed, study: Study | None
    ) -> None:
        """Take over an open file; `Ledger.open` is the way in."""
        self.path = path
        self.study = study
        self.recovered = ""
        self._fd = file_descriptor
        self._head = parsed.head
        self._writable = False
        self._trials: list[TrialRecord] = []
        self._events: list[Event] = []
        if parsed.lines:
            self.header = _structure(Header, parsed.lines[0], "header", f"{path} line 1")
        for number, line in enumerate(parsed.lines[1:], start=2):
            self._remember(line, f"{path} line {number}")

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], study: Study | None = None, mode: Literal["r", "a"] = "r"
    ) -> Self:
        """Open the ledger at `path`; mode "a" makes it if need be and allows `append`.

        Mode "a" removes a torn last line (the crash that tore it came before its `append` had
        returned), says so in `recovered`, and records it. A trial that was begun and never ended
        becomes void with the reason "interrupted".

        Args:
            path: the JSONL file.
            study: the study it must belong to; mode "r" can do without.
            mode: "r" to read, "a" to read and append.

        Raises:
            LedgerError: if it is missing (mode "r"), damaged, of another study, or being written
                by another process (mode "a").
        """
        path = Path(path)
        if mode == "a" and study is None:
            raise LedgerError(f"{path}: a ledger is appended to for a study; pass the study")
        if mode == "a":
            path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT if mode == "a" else os.O_RDONLY
        try:
            fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise LedgerError(
                f"{path}: cannot open this ledger ({error.strerror}). Check the path."
            ) from error
        try:
            return cls._take_over(path, fd, study, mode)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def _take_over(cls, path: Path, fd: int, study: Study | None, mode: str) -> Self:
        if mode == "a":
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LedgerError(
                    f"{path}: another process is appending to this ledger. Stop it first."
                ) from error
        try:
            parsed = chain.parse(_read_all(fd))
        except chain.ChainError as error:
            raise LedgerError(
                f"{path}: {error}. Do not repair it by hand; use a copy from before the edit, "
                "or start a new ledger."
            ) from error
        if mode == "r" and not parsed.lines:
            raise LedgerError(f"{path}: empty, not a ledger. Check the path.")
        ledger = cls(path, fd, parsed, study)
        if study is not None and parsed.lines:
            ledger._require(study)
        if mode == "a":
            ledger._writable = True
            ledger._prepare(parsed)
        return ledger

    def _require(self, study: Study) -> None:
        if self.header.study_id != study.id:
            raise LedgerError(
                f"{self.path}: belongs to study {self.header.study_id} "
                f"({self.header.study_name!r}), not to {study.id} ({study.name!r}). "
                "Use that study's ledger, or a new path."
            )

    def _prepare(self, parsed: chain.Parsed) -> None:
        assert self.study is not None
        if parsed.torn:
            os.ftruncate(self._fd, parsed.size)
            self.recovered = f"removed a torn last line of {len(parsed.torn)} bytes"
        os.lseek(self._fd, 0, os.SEEK_END)
        if not parsed.ended:
            self._write(b"\n")
        if not parsed.lines:
            header = Header(
                study_id=self.study.id,
                study_name=self.study.name,
                contract_id=self.study.contract_id,
                software_version=version("rlco-evaluation"),
                created_utc=_now(),
            )
            self._commit("header", asdict(header))
            self.header = header
            _sync_folder(self.path.parent)
        if self.recovered:
            self.note(f"{self.recovered}: {parsed.torn[:200]!r}", what="recovered")
        for trial in self._begun():
            self.append(
                TrialRecord(
                    index=trial.index,
                    condition=trial.condition,
                    code=trial.code,
                    status="void",
                    reason="interrupted: the run ended during this trial",
                )
            )

    def append(self, record: TrialRecord) -> TrialRecord:
        """Commit `record`: it is on disk when this returns. Returns it with attempt and time.

        Raises:
            LedgerError: if it does not fit the study or the ledger, the ledger was opened to read,
                or the disk refuses (nothing is committed then).
        """
        trial = self._planned(record.index)
        if (record.condition, record.code) != (trial.condition, trial.code):
            raise LedgerError(
                f"trial {record.index} is {trial.condition!r} with code {trial.code!r}, "
                f"not {record.condition!r} with {record.code!r}"
            )
        assert self.study is not None
        allowed = self.study.milestones
        if allowed and record.milestone not in (*NO_MILESTONE, *allowed):
            raise LedgerError(
                f"trial {record.index}: milestone {record.milestone!r} is not one of "
                f"{list(allowed)}"
            )
        attempts = [r for r in self._trials if r.index == record.index]
        if any(r.status == "done" for r in attempts):
            raise LedgerError(f"trial {record.index} is done; a done trial cannot be run again")
        attempt = len(attempts) + 1
        if record.attempt not in (None, attempt):
            raise LedgerError(
                f"trial {record.index}: the next attempt is {attempt}, got {record.attempt}"
            )
        record = replace(record, attempt=attempt, utc=record.utc or _now())
        self._commit("trial", asdict(record))
        self._trials.append(record)
        return record

    def begin(self, index: int) -> None:
        """Commit that trial `index` is being started, so that a killed run leaves a trace."""
        self._planned(index)
        for trial in self._begun():
            raise LedgerError(f"trial {trial.index} was begun and has not ended; append it first")
        self.note("started", what="begin", index=index)

    def note(
        self,
        text: str,
        *,
        what: Literal["begin", "recovered", "unblind", "note"] = "note",
        who: str = "",
        index: int | None = None,
    ) -> None:
        """Commit an event."""
        event = Event(what=what, text=text, who=who, index=index, utc=_now())
        self._commit("event", asdict(event))
        self._events.append(event)

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every attempt, void ones too, as they were run."""
        return tuple(self._trials)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event, as it happened."""
        return tuple(self._events)

    @property
    def head(self) -> str:
        """The hash of the last committed line; it stands for the whole ledger."""
        return self._head

    def remaining(self, study: Study) -> tuple[Trial, ...]:
        """Return the planned trials still to be run, in order.

        A void trial comes again until it was void `study.max_attempts` times.
        """
        self._require(study)
        done = {record.index for record in self._trials if record.status == "done"}
        attempts = [record.index for record in self._trials]
        return tuple(
            trial
            for trial in schedule(study)
            if trial.index not in done and attempts.count(trial.index) < study.max_attempts
        )

    def close(self) -> None:
        """Close the file and give up the lock; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _planned(self, index: int) -> Trial:
        if self.study is None or not self._writable:
            raise LedgerError(f'{self.path}: opened to read; open it with its study and mode "a"')
        trials = schedule(self.study)
        if index >= len(trials):
            raise LedgerError(f"trial {index} is not planned; the study has {len(trials)} trials")
        return trials[index]

    def _begun(self) -> list[Trial]:
        assert self.study is not None
        starts = [event.index for event in self._events if event.what == "begin"]
        ends = [record.index for record in self._trials]
        return [
            trial
            for trial in schedule(self.study)
            if starts.count(trial.index) > ends.count(trial.index)
        ]

    def _remember(self, line: Mapping[str, Any], where: str) -> None:
        kind = line.get("kind")
        if kind == "trial":
            self._trials.append(_structure(TrialRecord, line, "trial", where))
        elif kind == "event":
            self._events.append(_structure(Event, line, "event", where))
        else:
            raise LedgerError(f"{where}: unknown kind of line {kind!r}; update rlco-evaluation")

    def _commit(self, kind: str, body: Mapping[str, Any]) -> None:
        if not self._writable:
            raise LedgerError(f'{self.path}: opened to read; open it with its study and mode "a"')
        line, head = chain.encode({"kind": kind, **body}, self._head)
        self._write(line)
        self._head = head

    def _write(self, data: bytes) -> None:
        start = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, start)
            raise LedgerError(
                f"{self.path}: not committed ({error.strerror}); the ledger is as it was before. "
                "Free disk space, then repeat the trial."
            ) from error


def _structure(kind: type[Any], line: Mapping[str, Any], name: str, where: str) -> Any:
    if line.get("kind") != name:
        raise LedgerError(f"{where}: expected a {name}, got {line.get('kind')!r}. Not a ledger?")
    fields = {k: v for k, v in line.items() if k not in ("kind", "previous", "hash")}
    try:
        return spec.from_plain(kind, fields, where=where)
    except spec.SpecError as error:
        raise LedgerError(str(error)) from error


def _read_all(fd: int) -> bytes:
    blocks = []
    os.lseek(fd, 0, os.SEEK_SET)
    while block := os.read(fd, 1 << 20):
        blocks.append(block)
    return b"".join(blocks)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
