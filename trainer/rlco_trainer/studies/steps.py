"""Sequences of commands that are run once each, and go on where they were interrupted.

Every step is one or more of the commands that a lab would type. It is printed, its output is kept
in `logs/`, and `journal.json` remembers what is done and how long it took.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

SERVER_START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 15.0
JOURNAL = "journal.json"


class StepFailedError(RuntimeError):
    """A command of a sequence ended with an error."""


def script(name: str) -> str:
    """Return the path of one of rlco's commands in this environment.

    Raises:
        StepFailedError: if the environment lacks it.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise StepFailedError(f"{path} is not there; run `make setup` first")
    return str(path)


def command(program: str, /, *words: object, **options: object) -> list[str]:
    """Return a command line: the program, its words, then `--option value` for each option.

    A tuple gives its option several values, True none; an option that is None is left out.
    """
    flags: list[str] = []
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, tuple) else () if value is True else (value,)
            flags += [f"--{name.replace('_', '-')}", *(str(item) for item in values)]
    return [script(program), *(str(word) for word in words), *flags]


def typed(words: list[str]) -> str:
    """Return a command as a person would type it, in an activated environment."""
    return shlex.join([Path(words[0]).name, *words[1:]])


def read_journal(folder: Path) -> dict[str, Any]:
    """Return a folder's `settings` and its `steps` so far, by name; nothing is written.

    Raises:
        StepFailedError: if it has no journal, or one that cannot be read.
    """
    path = folder / JOURNAL
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StepFailedError(f"{path} cannot be read: {error}") from error
    return found


class Children:
    """The processes that run now, of all threads, so that one thread can end them all."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    @contextmanager
    def process(self, words: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process, and end it with the block if it has not ended by then.

        Raises:
            StepFailedError: after `end`.
        """
        with self._lock:
            if self._ended:
                raise StepFailedError(f"`{typed(words)}` was not started: interrupted")
            child = subprocess.Popen(words, stderr=subprocess.STDOUT, **options)
            self._running.add(child)
        try:
            yield child
        finally:
            _stop(child)
            with self._lock:
                self._running.discard(child)

    def end(self) -> None:
        """End every process, and start no more."""
        with self._lock:
            self._ended = True
            running = tuple(self._running)
        for child in running:
            _stop(child)


class Steps:
    """A folder with steps that were run in it.

    What its commands say is shown and kept in `logs/`. With a `name`, as where several sequences
    run at once, it is only kept, and a step shows as one line that begins with the name.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        name: str = "",
        children: Children | None = None,
    ) -> None:
        """Open or make the folder.

        Raises:
            StepFailedError: if it holds a sequence with other settings.
        """
        self.folder = folder
        self.name, self.children = name, children or Children()
        self._began_s = time.monotonic()
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self._journal = folder / JOURNAL
        plain = json.loads(json.dumps(dict(settings), default=str))
        self._record: dict[str, Any] = {"settings": plain, "steps": {}}
        if self._journal.exists():
            self._record = read_journal(folder)
            earlier = self._record["settings"]
            changed = [key for key in {*earlier, *plain} if earlier.get(key) != plain.get(key)]
            if changed:
                told = ", ".join(
                    f"{key}: {earlier.get(key)!r}, now {plain.get(key)!r}" for key in changed
                )
                raise StepFailedError(
                    f"{folder} holds a run with other settings ({told}). Choose another --out, or "
                    "remove the folder to start over."
                )
        self._save()

    def _save(self) -> None:
        partial = self._journal.with_suffix(".partial")
        partial.write_text(json.dumps(self._record, indent=1), encoding="utf-8")
        partial.replace(self._journal)

    def __contains__(self, name: str) -> bool:
        """Whether a step is done."""
        return name in self._record["steps"]

    @property
    def commands(self) -> list[str]:
        """The commands that ran, in order."""
        return [line for step in self._record["steps"].values() for line in step["commands"]]

    def run(self, name: str, title: str, *commands: list[str]) -> None:
        """Run commands one after the other, unless this step is already done.

        Raises:
            StepFailedError: with the command and its log, if one exits with an error.
        """
        if name in self:
            if not self.name:
                print(f"\n== {title}: done before", flush=True)
            return
        self.begin(title)
        started_s = time.monotonic()
        for i, words in enumerate(commands):
            self.execute(f"{name}{i or ''}", words)
        self.finish(name, [typed(words) for words in commands], time.monotonic() - started_s)

    def execute(self, name: str, words: list[str]) -> None:
        """Run one command now, with its log under `name`.

        Raises:
            StepFailedError: with the command and its log, if it exits with an error.
        """
        log = self.folder / "logs" / f"{name}.log"
        execute(words, log, self.children, shown=not self.name)

    def begin(self, title: str) -> None:
        """Say which step begins."""
        if self.name:
            since = timedelta(seconds=round(time.monotonic() - self._began_s))
            print(f"{self.name}, {since}: {title}", flush=True)
        else:
            print(f"\n== {title}", flush=True)

    def finish(self, name: str, commands: list[str], seconds: float) -> None:
        """Note that a step is done."""
        self._record["steps"][name] = {"commands": commands, "seconds": round(seconds, 1)}
        self._save()
        if not self.name:
            print(f"   took {seconds:.0f} s", flush=True)


def execute(words: list[str], log: Path, children: Children, *, shown: bool) -> None:
    """Run one command, keeping its output in `log` and showing it if it is to be `shown`.

    Raises:
        StepFailedError: with the command and its log, if it exits with an error.
    """
    if shown:
        print(f"   $ {typed(words)}", flush=True)
    with log.open("wb") as file, children.process(words, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        while block := os.read(child.stdout.fileno(), 1 << 16):
            file.write(block)
            if shown:
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
        code = child.wait()
    if code:
        raise StepFailedError(f"`{typed(words)}` ended with exit code {code}; see {log}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child process: SIGTERM, and SIGKILL if it is still there after a while."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def policy_server(words: list[str], ready: Path, log: Path, steps: Steps) -> Iterator[str]:
    """Run `rlco-serve` with `--ready-file ready` and yield its URL once its policies are warm.

    Raises:
        StepFailedError: if the server ends or does not get ready in time.
    """
    ready.unlink(missing_ok=True)
    if not steps.name:
        print(f"   $ {typed(words)}", flush=True)
    with log.open("wb") as file, steps.children.process(words, stdout=file) as child:
        deadline_s = time.monotonic() + SERVER_START_TIMEOUT_S
        while not ready.exists():
            if child.poll() is not None or time.monotonic() > deadline_s:
                raise StepFailedError(f"the policy server did not start; see {log}")
            time.sleep(0.1)
        yield str(json.loads(ready.read_text(encoding="utf-8"))["url"])
