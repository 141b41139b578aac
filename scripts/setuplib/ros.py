"""rlco's ROS packages beside a sourced ROS 2 Jazzy (colcon), or beside the wheels."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .console import Runner, SetupError, output_of
from .interpreter import Interpreter, sudo
from .requirements import ROS_MESSAGES
from .stamps import files_under, fingerprint

_ROUND_TRIP = """
import numpy
from rclpy.serialization import deserialize_message, serialize_message
from importlib import import_module
from sensor_msgs.msg import CameraInfo, Image
info = CameraInfo(k=numpy.arange(9.0))
back = deserialize_message(serialize_message(info), CameraInfo)
assert list(back.k) == list(range(9)) and Image().data is not None
import_module("rlco_msgs.srv")
"""

_WHEELS_ENVIRONMENT = """\
# Source this to use rlco's virtual environment in a shell.
export PATH="{venv}/bin:$PATH"
export AMENT_PREFIX_PATH="{venv}"
"""
_SOURCED_ENVIRONMENT = """\
# Source this, in a shell with ROS 2 Jazzy sourced, to use rlco's virtual environment.
COLCON_CURRENT_PREFIX="{workspace}/install" . "{workspace}/install/local_setup.sh"
export PATH="{venv}/bin:$PATH"
"""


def message_sources(root: Path, package: Path = ROS_MESSAGES) -> list[Path]:
    """Return the files that define the interfaces of a package."""
    return files_under(root / package, ".msg", ".srv", ".action", ".xml", ".txt")


def need_compiler(interpreter: Interpreter) -> None:
    """Check for what building the interfaces takes.

    Raises:
        SetupError: a compiler, make or the Python headers are missing.
    """
    missing = [tool for tool in ("g++", "make") if shutil.which(tool) is None]
    if not interpreter.headers:
        missing.append(f"the headers of {interpreter.executable}")
    if missing:
        raise SetupError(
            f"building rlco's ROS messages needs {', '.join(missing)}.\nType:  {sudo()}apt-get "
            f"install -y g++ make python{interpreter.version}-dev\nthen run `make setup` again."
        )


def interface_wheels(
    root: Path,
    packages: Sequence[Path],
    interpreter: Interpreter,
    run: Runner,
    sources: Mapping[str, str],
) -> list[Path]:
    """Build wheels of interface packages in a throw-away environment, or return the cached ones.

    `packages` are folders below `root`; `sources` is extra environment for pip (the constraints).

    Raises:
        SetupError: no compiler, or the build failed.
    """
    script = root / "scripts" / "build_msgs_wheel.py"
    inputs = [path for package in packages for path in message_sources(root, package)]
    inputs += [script, root / "scripts" / "fix_ros_cmake.py"]
    key = fingerprint(files=inputs, values=[interpreter.full_version])[:16]
    folder = root / ".cache" / packages[0].name / key
    if len(wheels := sorted(folder.glob("*.whl"))) == len(packages):
        return wheels
    need_compiler(interpreter)
    run(
        [interpreter.executable, script, *(root / package for package in packages), folder],
        remedy="The build needs pip's network access, g++ and make; run `make setup` again.",
        extra_environment=sources,
    )
    return sorted(folder.glob("*.whl"))


def package_data(package: Path) -> dict[str, Path]:
    """Return what ament and `ros2 launch` look for: place below the prefix -> file of the source.

    The same places as in the package's setup.py, whose data files an editable install leaves out.
    """
    name = package.name
    places = {
        f"share/ament_index/resource_index/packages/{name}": package / "resource" / name,
        f"share/{name}/package.xml": package / "package.xml",
    }
    for folder, target in (
        *((kind, f"share/{name}/{kind}") for kind in ("launch", "config")),
        ("scripts", f"lib/{name}"),
    ):
        for path in sorted((package / folder).glob("*")):
            if path.is_file():
                places[f"{target}/{path.name}"] = path
    return places


def link_package(package: Path, prefix: Path) -> None:
    """Link each data file of the package into the prefix; stale links go.

    Files are linked one by one, never folders: pip may later write to these places, and must not
    reach the sources through a link.
    """
    for folder in (prefix / "share" / package.name, prefix / "lib" / package.name):
        for path in folder.rglob("*"):
            if path.is_symlink():
                path.unlink()
    for place, source in package_data(package).items():
        link = prefix / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)


def colcon_build(root: Path, venv: Path, run: Runner) -> None:
    """Build the workspace with the sourced ROS, its executables running in `venv`.

    Raises:
        SetupError: colcon is missing or the build failed.
    """
    colcon = shutil.which("colcon")
    if colcon is None:
        raise SetupError(
            "ROS 2 Jazzy is sourced, but colcon is missing. Type:\n"
            f"  {sudo()}apt-get install -y python3-colcon-common-extensions\n"
            "then run `make setup` again."
        )
    run(
        [venv / "bin" / "python", colcon, "build", "--packages-select", "rlco_msgs", "rlco"],
        cwd=root / "ros_ws",
        remedy="Mend what the log names (often: rosdep install --from-paths ros_ws/src -iry) and "
        "run `make setup` again.",
    )


def write_environment(root: Path, venv: Path, *, sourced: bool) -> Path:
    """Write the shell snippet that `make` and people source; return its path."""
    text = _SOURCED_ENVIRONMENT if sourced else _WHEELS_ENVIRONMENT
    path = venv / "bin" / "rlco-env.sh"
    path.write_text(text.format(venv=venv, workspace=root / "ros_ws"), encoding="utf-8")
    return path


def check(venv: Path, environment: Mapping[str, str], snippet: Path) -> None:
    """Serialise real messages in the finished environment.

    Raises:
        SetupError: rclpy or the interfaces do not work there.
    """
    shell: list[str | Path] = [
        "bash",
        "-c",
        'source "$0" && exec python -c "$1"',
        snippet,
        _ROUND_TRIP,
    ]
    if output_of(shell, environment) is None:
        raise SetupError(
            "rclpy or rlco_msgs does not work in the new environment. See why with:\n"
            f"  source {snippet} && python -c 'import rclpy, rlco_msgs.srv'\n"
            f"If the environment is half-built, remove it: rm -rf {venv}; then `make setup`. "
            f"(LD_LIBRARY_PATH is {os.environ.get('LD_LIBRARY_PATH', '')!r}.)"
        )
