"""What the recorder says to the operator, whose eyes are on the robot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Protocol

VOICES = ("espeak-ng", "espeak", "spd-say")


class Cue(Protocol):
    """Tells the operator something, without making the caller wait."""

    def say(self, text: str) -> None:
        """Say a few words."""


class Quiet:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


class Bell:
    """Rings the terminal's bell and prints the words."""

    def say(self, text: str) -> None:
        """Ring once."""
        print(f"\a{text}", flush=True, file=sys.stderr)


class Voice:
    """Speaks through a speech program of the system; words said meanwhile are dropped."""

    def __init__(self, program: str) -> None:
        """Take the path of the program, which is given the words as its argument."""
        self._program = program
        self._speaking: subprocess.Popen[bytes] | None = None

    def say(self, text: str) -> None:
        """Begin to speak, unless it still speaks."""
        if self._speaking is None or self._speaking.poll() is not None:
            self._speaking = subprocess.Popen(
                [self._program, text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )


def cue_named(name: str) -> Cue:
    """Return the cue called `name`: none, bell, or speech (a bell where no voice is installed).

    Raises:
        ValueError: if there is no such cue.
    """
    if name == "none":
        return Quiet()
    if name == "bell":
        return Bell()
    if name == "speech":
        found = [path for path in map(shutil.which, VOICES) if path is not None]
        return Voice(found[0]) if found else Bell()
    raise ValueError(f"cues must be none, bell or speech, got {name!r}")
