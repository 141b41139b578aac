"""Running commands quietly, and telling the user what happens and what to do when it fails."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 25


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to type."""


def clean_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a Python of *another* virtual environment.

    The ROS wheels restart an interpreter once with LD_LIBRARY_PATH set and remember that in
    `_ROS_WHEELS_BOOTSTRAP_COMPLETE`; a child that inherits both would load the wrong libraries.
    """
    environment = dict(os.environ if base is None else base)
    if environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None):
        environment.pop("LD_LIBRARY_PATH", None)
    for name in ("PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    environment.update(
        PYTHONNOUSERSITE="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", LC_ALL="C.UTF-8"
    )
    return environment


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs commands with their output in one log file per step."""

    log: Path
    environment: Mapping[str, str]

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        remedy: str,
        cwd: Path | None = None,
        extra_environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run `command`; output goes to the log.

        Raises:
            SetupError: it failed; the message holds the command, the end of the log and `remedy`.
        """
        words = [str(word) for word in command]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n")
            log.flush()
            start = log.tell()
            try:
                code = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env={**self.environment, **(extra_environment or {})},
                    check=False,
                ).returncode
            except FileNotFoundError:
                code = 127
        if code:
            with self.log.open(encoding="utf-8", errors="replace") as log:
                log.seek(start)
                tail = log.read().splitlines()[-TAIL_LINES:]
            quoted = "\n".join(f"  | {line}" for line in tail)
            raise SetupError(
                f"this command failed with status {code}:\n  {' '.join(words)}\n{quoted}\n"
                f"The whole output is in {self.log}.\n{remedy}"
            )


def output_of(command: Sequence[str | Path], environment: Mapping[str, str]) -> str | None:
    """Return a command's standard output, stripped; None when it fails or does not exist."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=300,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
