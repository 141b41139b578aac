"""Imports go one way only, and every folder declares what it imports (docs/architecture.md)."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = {
    "rlco_datasets": ROOT / "datasets",
    "rlco_calibration": ROOT / "calibration",
    "rlco_evaluation": ROOT / "evaluation",
    "rlco_trainer": ROOT / "trainer",
    "rlco_policy_server": ROOT / "policy_server",
    "rlco": ROOT / "ros_ws" / "src" / "rlco",
}
OWN = {*FOLDERS, "rlco_msgs"}

MAY_IMPORT = {
    "rlco_datasets": set(),
    "rlco_calibration": {"rlco_datasets"},
    "rlco_evaluation": {"rlco_datasets"},
    "rlco_trainer": {"rlco_datasets", "rlco_calibration", "rlco_evaluation"},
    "rlco_policy_server": {"rlco_datasets"},
    "rlco": {
        "rlco_datasets",
        "rlco_calibration",
        "rlco_evaluation",
        "rlco_policy_server.client",
        "rlco_msgs",
    },
}
# module prefix -> what it may import beyond its package's row
EXCEPTIONS = {
    "rlco_policy_server.app": {"rlco_trainer"},
    "rlco_policy_server.checkpoints": {"rlco_trainer"},
    "rlco_policy_server.cli": {"rlco_trainer"},
    "rlco.lab": {"rlco_trainer"},
}
ROBOT_SIDE_FORBIDS = {"torch", "fastapi", "uvicorn", "mani_skill", "sapien", "ray", "rlco_trainer"}
OFFLINE_FORBIDS = {"rclpy", "launch", "launch_ros", "rlco_msgs", "sensor_msgs", "geometry_msgs"}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Yield (dotted module, file) of one of our packages."""
    folder = FOLDERS[package]
    for path in sorted((folder / package).rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, path: Path) -> set[str]:
    """Return every dotted name that a file imports, anywhere in it, relative ones resolved."""
    found = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *filter(None, [base])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def may_import(module: str, name: str) -> bool:
    package, wanted = module.partition(".")[0], name.partition(".")[0]
    if wanted not in OWN or wanted == package:
        return True
    allowed = set(MAY_IMPORT[package])
    for prefix, extra in EXCEPTIONS.items():
        if within(module, prefix):
            allowed |= extra
    # `from rlco_policy_server import client` is recorded as both the package and the module
    return any(within(name, prefix) or within(prefix, name) for prefix in allowed)


@pytest.mark.parametrize("package", FOLDERS)
def test_imports_follow_the_table(package: str) -> None:
    files = list(modules(package))
    assert files, f"{FOLDERS[package] / package} holds no module"
    bad = [
        f"{path.relative_to(ROOT)} imports {name}"
        for module, path in files
        for name in sorted(imports(module, path))
        if not may_import(module, name)
    ]
    assert not bad, "\n".join(bad)


def test_the_rule_itself_catches_wrong_directions() -> None:
    assert not may_import("rlco_datasets.store", "rlco_trainer")
    assert not may_import("rlco_trainer.stage1", "rlco.lab")
    assert not may_import("rlco_policy_server.client", "rlco_trainer.policies")
    assert not may_import("rlco.nodes.policy", "rlco_trainer.twin")
    assert not may_import("rlco.nodes.policy", "rlco_policy_server.app")
    assert may_import("rlco.nodes.policy", "rlco_policy_server.client")
    assert may_import("rlco.lab.scene", "rlco_trainer.twin.scene")
    assert may_import("rlco_policy_server.app", "rlco_trainer.policies")


def closure(start: str) -> set[str]:
    """Return all names imported by a module and, in turn, by our modules that it imports."""
    files = {module: path for package in FOLDERS for module, path in modules(package)}
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        # importing a.b runs a/__init__ too
        for prefix in {name, *(name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1))}:
            if prefix not in seen:
                seen.add(prefix)
                if prefix in files:
                    todo += imports(prefix, files[prefix])
    return seen


@pytest.mark.parametrize("part", ["rlco_policy_server.client", "rlco_policy_server.wire"])
def test_the_client_stays_light(part: str) -> None:
    parts = [module for module, _ in modules("rlco_policy_server") if within(module, part)]
    assert parts, f"{part} was not found"
    for module in parts:
        assert not {name.partition(".")[0] for name in closure(module)} & ROBOT_SIDE_FORBIDS


def test_importing_the_client_loads_no_heavy_library() -> None:
    code = (
        "import sys, rlco_policy_server.client; "
        f"print(sorted(set({sorted(ROBOT_SIDE_FORBIDS)!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_lab_needs_the_trainers_libraries() -> None:
    bad = [
        f"{module} imports {name}"
        for module, path in modules("rlco")
        for name in imports(module, path)
        if name.partition(".")[0] in ROBOT_SIDE_FORBIDS and not within(module, "rlco.lab")
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("package", [name for name in FOLDERS if name != "rlco"])
def test_the_offline_side_needs_no_ros(package: str) -> None:
    bad = [
        f"{module} imports {name}"
        for module, path in modules(package)
        for name in imports(module, path)
        if name.partition(".")[0] in OFFLINE_FORBIDS
    ]
    assert not bad, "\n".join(bad)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(requirement: str) -> str:
    return normal(re.match(r"[\w.-]+", requirement)[0])


def declared(package: str) -> set[str]:
    """Return the distributions a folder asks for: pyproject with extras, and package.xml."""
    names = {normal(package)}
    folder = FOLDERS[package]
    if (folder / "pyproject.toml").is_file():
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = project.get("project", {})
        wanted = list(project.get("dependencies", []))
        for extra in project.get("optional-dependencies", {}).values():
            wanted += extra
        names |= {distribution(item) for item in wanted}
    if (folder / "setup.py").is_file():
        for node in ast.walk(ast.parse((folder / "setup.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "install_requires":
                names |= {distribution(item) for item in ast.literal_eval(node.value)}
            elif isinstance(node, ast.keyword) and node.arg == "extras_require":
                for extra in ast.literal_eval(node.value).values():
                    names |= {distribution(item) for item in extra}
    if (folder / "package.xml").is_file():
        for item in ET.parse(folder / "package.xml").getroot():
            if item.tag in ("depend", "exec_depend", "build_depend", "test_depend"):
                names.add(normal((item.text or "").strip()))
    return names


@pytest.mark.parametrize("package", FOLDERS)
def test_every_third_party_import_is_declared(package: str) -> None:
    providers = importlib.metadata.packages_distributions()
    names = declared(package)
    bad = set()
    for module, path in modules(package):
        for name in imports(module, path):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            candidates = {normal(top), *map(normal, providers.get(top, []))}
            if not candidates & names:
                bad.add(f"{path.relative_to(ROOT)} imports {top}, which its folder never declares")
    assert not bad, "\n".join(sorted(bad))
