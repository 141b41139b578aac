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
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

    A tuple gives its option several values; an option that is None is left out.
    """
    flags: list[str] = []
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
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


class Steps:
    """A folder with steps that were run in it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open or make the folder.

        Raises:
            StepFailedError: if it holds a sequence with other settings.
        """
        self.folder = folder
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
            print(f"\n== {title}: done before", flush=True)
            return
        print(f"\n== {title}", flush=True)
        started_s = time.monotonic()
        for i, words in enumerate(commands):
            self.execute(f"{name}{i or ''}", words)
        self.finish(name, [typed(words) for words in commands], time.monotonic() - started_s)

    def execute(self, name: str, words: list[str]) -> None:
        """Run one command now, with its log under `name`.

        Raises:
            StepFailedError: with the command and its log, if it exits with an error.
        """
        execute(words, self.folder / "logs" / f"{name}.log")

    def finish(self, name: str, commands: list[str], seconds: float) -> None:
        """Note that a step is done."""
        self._record["steps"][name] = {"commands": commands, "seconds": round(seconds, 1)}
        self._save()
        print(f"   took {seconds:.0f} s", flush=True)


def execute(words: list[str], log: Path) -> None:
    """Run one command, showing its output and keeping it in `log`.

    Raises:
        StepFailedError: with the command and its log, if it exits with an error.
    """
    print(f"   $ {typed(words)}", flush=True)
    with log.open("wb") as file:
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert child.stdout is not None
        try:
            while block := os.read(child.stdout.fileno(), 1 << 16):
                file.write(block)
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
            code = child.wait()
        except BaseException:
            _stop(child)
            raise
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
def policy_server(words: list[str], ready: Path, log: Path) -> Iterator[str]:
    """Run `rlco-serve` with `--ready-file ready` and yield its URL once its policies are warm.

    Raises:
        StepFailedError: if the server ends or does not get ready in time.
    """
    ready.unlink(missing_ok=True)
    print(f"   $ {typed(words)}", flush=True)
    with log.open("wb") as file:
        child = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
        try:
            deadline_s = time.monotonic() + SERVER_START_TIMEOUT_S
            while not ready.exists():
                if child.poll() is not None or time.monotonic() > deadline_s:
                    raise StepFailedError(f"the policy server did not start; see {log}")
                time.sleep(0.1)
            yield str(json.loads(ready.read_text(encoding="utf-8"))["url"])
        finally:
            _stop(child)
