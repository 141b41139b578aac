"""Which Python builds the virtual environment, and whether ROS 2 Jazzy comes with it."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .console import SetupError, output_of

SUPPORTED = ("3.11", "3.12")
DISTRO = "jazzy"

_PROBE = """
import importlib.util, json, os, sys, sysconfig
base = os.path.join(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
print(json.dumps({
    "executable": base if os.path.exists(base) else sys.executable,
    "version": f"{sys.version_info[0]}.{sys.version_info[1]}",
    "full_version": sys.version.split()[0],
    "venv": all(importlib.util.find_spec(m) for m in ("venv", "ensurepip")),
    "headers": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
}))
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A base Python (never one of a virtual environment)."""

    executable: Path
    version: str
    full_version: str
    venv: bool
    headers: bool
    ros: bool = False


def probe(executable: str | Path, environment: Mapping[str, str]) -> Interpreter | None:
    """Ask an interpreter about itself; None if it does not run."""
    answer = output_of([executable, "-c", _PROBE], environment)
    if not answer:
        return None
    fields = json.loads(answer.splitlines()[-1])
    return Interpreter(**{**fields, "executable": Path(fields["executable"])})


def candidates(ros: bool) -> list[str]:
    """Return the interpreters to try, best first.

    Jazzy's binaries are for the system's Python 3.12; without ROS, the Python that runs this
    script comes first, because the user chose it.
    """
    named = [f"python{version}" for version in SUPPORTED]
    if ros:
        return ["/usr/bin/python3", sys.executable, *reversed(named)]
    return [sys.executable, *named]


def sourced_ros(environment: Mapping[str, str]) -> bool:
    """Whether the shell has sourced ROS 2 Jazzy.

    Raises:
        SetupError: another ROS distribution is sourced; its Python path would shadow ours.
    """
    distro = environment.get("ROS_DISTRO", "")
    if distro and distro != DISTRO and environment.get("AMENT_PREFIX_PATH"):
        raise SetupError(
            f"this shell has ROS 2 {distro!r} sourced, and rlco needs {DISTRO!r}.\n"
            "Open a shell without it (rlco then brings its own ROS as wheels), or source "
            f"/opt/ros/{DISTRO}/setup.bash instead, and run `make setup` again."
        )
    return distro == DISTRO


def choose(
    environment: Mapping[str, str], names: Sequence[str] | None = None, *, ros: bool
) -> Interpreter:
    """Return the interpreter to build with.

    With `ros`, the first that can import rclpy wins; where none can, the shell's ROS is not
    usable from Python and the choice falls on the first supported one, which gets the wheels.

    Raises:
        SetupError: no supported Python with venv is there.
    """
    first = None
    for name in candidates(ros) if names is None else names:
        interpreter = probe(name, environment)
        if interpreter is None or interpreter.version not in SUPPORTED:
            continue
        first = first or interpreter
        if not ros:
            break
        if output_of([interpreter.executable, "-c", "import rclpy"], environment) is not None:
            return _with_venv(interpreter, ros=True)
    if first is None:
        raise SetupError(
            f"no Python {' or '.join(SUPPORTED)} on this machine (this script runs on "
            f"{sys.version.split()[0]}).\n"
            "On Ubuntu 24.04:  sudo apt-get install -y python3.12 python3.12-venv python3.12-dev\n"
            "On Debian 12:     sudo apt-get install -y python3.11 python3.11-venv python3.11-dev\n"
            "Elsewhere, install one of them and run: make setup PYTHON=/path/to/python3.12"
        )
    return _with_venv(first, ros=False)


def _with_venv(interpreter: Interpreter, *, ros: bool) -> Interpreter:
    if not interpreter.venv:
        version = interpreter.version
        raise SetupError(
            f"{interpreter.executable} cannot make virtual environments: its venv module is "
            f"missing.\nType: {sudo()}apt-get install -y python{version}-venv python{version}-dev"
        )
    return Interpreter(**{**vars(interpreter), "ros": ros})


def sudo() -> str:
    """Return the prefix a command line needs to run as root."""
    return "" if os.geteuid() == 0 else "sudo "
