"""What the folders of this repository require, read from their own metadata."""

import ast
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"
OPENPI_CLIENT = "openpi-client==0.1.2"
"""For tests, without its dependencies: it asks for numpy 1, and works with numpy 2."""
ROS_WHEELS = ("ros-jazzy-rclpy", "ros-jazzy-common-interfaces", "ros-jazzy-rmw-fastrtps-cpp")
ROS_PACKAGE = Path("ros_ws/src/rlco")
ROS_MESSAGES = Path("ros_ws/src/rlco_msgs")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One distribution of this repository."""

    path: Path
    extras: tuple[str, ...] = ()

    @property
    def editable(self) -> str:
        """The argument of `pip install --editable`."""
        return f"./{self.path}" + (f"[{','.join(self.extras)}]" if self.extras else "")


FOLDERS = (
    Folder(path=Path("datasets")),
    Folder(path=Path("calibration")),
    Folder(path=Path("evaluation")),
    Folder(path=Path("trainer"), extras=("sim", "vla")),
    Folder(path=Path("policy_server"), extras=("server",)),
    Folder(path=ROS_PACKAGE, extras=("lab",)),
)


def metadata_files(root: Path) -> list[Path]:
    """Return every file that an editable install reads, present or not."""
    names = ("pyproject.toml", "setup.py", "setup.cfg", "package.xml")
    return [root / folder.path / name for folder in FOLDERS for name in names]


def present(root: Path) -> list[Folder]:
    """Return the folders that can be installed."""
    return [
        folder
        for folder in FOLDERS
        if any((root / folder.path / name).is_file() for name in ("pyproject.toml", "setup.py"))
    ]


def distribution(requirement: str) -> str:
    """Return the normalised name a requirement asks for: `PyYAML>=6` -> `pyyaml`."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def third_party(root: Path) -> list[str]:
    """Return the requirements of all folders with their extras, less our own and torch."""
    wanted: set[str] = set()
    for folder in FOLDERS:
        path = root / folder.path / "pyproject.toml"
        if not path.is_file():
            continue
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
        wanted.update(project.get("dependencies", []))
        for extra in folder.extras:
            wanted.update(project.get("optional-dependencies", {}).get(extra, []))
    return sorted(
        requirement
        for requirement in wanted
        if distribution(requirement) != "torch" and not distribution(requirement).startswith("rlco")
    )


def ros_extras(root: Path, extras: Iterable[str]) -> list[str]:
    """Return the requirements of extras of the ROS package, from its setup.py."""
    tree = ast.parse((root / ROS_PACKAGE / "setup.py").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "extras_require":
            found = ast.literal_eval(node.value)
    return sorted(requirement for extra in extras for requirement in found[extra])


def pins(constraints: Path) -> dict[str, str]:
    """Return name -> version of a constraints file."""
    lines = (line.partition("#")[0].strip() for line in constraints.read_text().splitlines())
    return {
        distribution(name): version
        for name, _, version in (x.partition("==") for x in lines)
        if version
    }
