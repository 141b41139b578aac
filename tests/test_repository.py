"""Rules that hold over the whole repository, and checks of the container files.

No container engine is needed: a Dockerfile is read instruction by instruction.
"""

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 2_000_000
MAX_LINES = 400

TOP_LEVEL = {
    *("datasets", "calibration", "evaluation", "trainer", "policy_server", "ros_ws"),
    *("tests", "benchmarks", "docs", "scripts", "docker", "examples", ".ci"),
}
# assembled, so that this file passes its own test
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        *(("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org")),
        *(("registry", "npmjs", "org"), ("deb", "debian", "org"), ("archive", "ubuntu", "com")),
        *(("docker", "io"), ("ghcr", "io"), ("nvcr", "io"), ("quay", "io"), ("gcr", "io")),
        *(("packages", "ros", "org"), ("anaconda", "org"), ("snapshot", "debian", "org")),
    )
]
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|opt/(?:wheels|pypi)|Users/\w+)/")


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files under version control that are there, and new ones git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return tuple(sorted(ROOT / name for name in set(listed) if (ROOT / name).is_file()))


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content[:4096]:
            found.append((str(path.relative_to(ROOT)), content.decode("utf-8")))
    return found


def python_files() -> list[tuple[str, str]]:
    return [(name, text) for name, text in texts() if name.endswith(".py")]


def test_the_top_level_is_as_designed() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    assert folders <= TOP_LEVEL, f"not in the design: {sorted(folders - TOP_LEVEL)}"
    assert {"LICENSE", "Makefile", "README.md", "docker-compose.yml", "constraints.txt"} <= {
        path.name for path in tracked() if path.parent == ROOT
    }


def test_the_license_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    for path in tracked():
        if path.name == "pyproject.toml" and path.parent != ROOT:
            project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
            assert project.get("license", "Apache-2.0") == "Apache-2.0", path


def test_no_registry_host_and_no_machine_path_is_written_down() -> None:
    bad = []
    for name, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            if any(host in line for host in REGISTRY_HOSTS) or MACHINE_PATHS.search(line):
                bad.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not bad, "\n".join(bad)


def test_files_stay_small() -> None:
    large = [
        f"{p.relative_to(ROOT)}: {p.stat().st_size} bytes"
        for p in tracked()
        if p.stat().st_size > MAX_BYTES
    ]
    long = [
        f"{name}: {text.count(chr(10))} lines"
        for name, text in python_files()
        if text.count("\n") > MAX_LINES
    ]
    assert not large + long, "\n".join(large + long)


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches everything and does nothing, or has no type at all."""
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    silent = all(isinstance(node, ast.Pass | ast.Continue) for node in handler.body)
    return silent and bool(names & {"Exception", "BaseException"})


def test_no_handler_swallows_everything() -> None:
    bad = [
        f"{name}:{node.lineno}"
        for name, text in python_files()
        for node in ast.walk(ast.parse(text, name))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    ]
    assert not bad, "\n".join(bad)


def test_nothing_is_left_to_do_later_and_nothing_is_pickled() -> None:
    marks = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    bad = []
    for name, text in python_files():
        bad += [f"{name}:{n}" for n, line in enumerate(text.splitlines(), 1) if marks.search(line)]
        if not name.startswith("tests/"):
            bad += [
                f"{name} imports pickle"
                for node in ast.walk(ast.parse(text, name))
                if isinstance(node, ast.Import)
                and any(alias.name in ("pickle", "cloudpickle", "dill") for alias in node.names)
            ]
    assert not bad, "\n".join(bad)


def test_every_requirement_has_a_tested_version() -> None:
    pinned = {
        line.partition("==")[0]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    wanted = set((ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines())
    for path in tracked():
        if path.name == "pyproject.toml" and path.parent != ROOT:
            project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
            wanted.update(project.get("dependencies", []))
            for extra in project.get("optional-dependencies", {}).values():
                wanted.update(extra)
    names = {
        re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", item)[0]).lower()
        for item in wanted
        if item and not item.startswith(("#", "rlco"))
    }
    assert not names - pinned, f"run `make lock` in a tested .venv: {sorted(names - pinned)}"


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    targets = dict(re.findall(r"^([a-z-]+):(?!=)(.*)$", text, re.M))
    assert phony == set(targets)
    assert all("##" in line or "#" in line for line in targets.values())
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True)
    for target in ("setup", "demo", "test", "bench"):
        assert f"make {target} " in shown.stdout


def test_ci_runs_what_the_readme_promises() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111
    assert text.startswith("#!/usr/bin/env bash")
    assert "set -euo pipefail" in text
    assert "make lint" in text
    assert "make test" in text


# --- containers

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments) with continuation lines joined and comments dropped."""
    lines = [x for x in path.read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(pair[0], pair[1]) for pair in pairs]


def ignored_by_docker(name: str) -> bool:
    """Whether .dockerignore keeps a path out (its last matching rule decides)."""
    ignored = False
    for rule in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!")
        if pattern == "*" or name == pattern or name.startswith(pattern + "/"):
            ignored = not rule.startswith("!")
    return ignored


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_rules(path: Path) -> None:
    found = instructions(path)
    names = [name for name, _ in found]
    assert set(names) <= {
        *("FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "SHELL"),
        *("ENTRYPOINT", "CMD", "EXPOSE", "HEALTHCHECK"),
    }
    assert names[0] in ("FROM", "ARG")
    users = [argument for name, argument in found if name == "USER"]
    assert users, "runs as root"
    assert users[-1] != "root"
    for name, argument in found:
        if name == "FROM" and "$" not in argument:
            assert re.search(r":(?!latest)[\w.-]+$", argument), f"unpinned image {argument}"
        if name == "ARG" and argument.startswith("BASE="):
            assert re.search(r":(?!latest)[\w.-]+$", argument), f"unpinned image {argument}"
        if name == "WORKDIR":
            assert argument.startswith("/")
        if name in ("ENTRYPOINT", "CMD"):
            assert argument.startswith("["), "use the form that passes signals on"
        if name == "RUN":
            assert "sudo" not in argument.split()
            if "apt-get install" in argument:
                assert "apt-get update" in argument
                assert "--no-install-recommends" in argument
            if "apt-get update" in argument:
                assert "rm -rf /var/lib/apt/lists/*" in argument
            if "pip install" in argument:
                assert "--constraint constraints.txt" in argument or "torch==" in argument


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_everything_copied_is_there_and_sent_to_the_engine(path: Path) -> None:
    for name, argument in instructions(path):
        if name == "COPY":
            *sources, _ = argument.split()
            for source in sources:
                assert (ROOT / source).exists(), f"COPY {source}"
                assert not ignored_by_docker(source), f".dockerignore leaves {source} out"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_containers_install_the_tested_torch(path: Path) -> None:
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    for version in re.findall(r"torch==(\S+)", path.read_text(encoding="utf-8")):
        assert version == pinned


def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_compose_names_real_dockerfiles_and_arguments() -> None:
    services = compose()["services"]
    assert {"robot", "server", "trainer"} <= set(services)
    for name, service in services.items():
        build = service["build"]
        path = ROOT / build["dockerfile"]
        assert path in DOCKERFILES, name
        known = {a.partition("=")[0] for n, a in instructions(path) if n == "ARG"}
        assert set(build.get("args", {})) <= known, name
        assert service["profiles"], "nothing starts unasked"


def test_compose_opens_no_public_port() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"
    assert "/healthz" in str(compose()["services"]["server"]["healthcheck"]["test"])


def test_the_robot_container_can_be_real_time_and_share_images() -> None:
    robot = compose()["services"]["robot"]
    assert robot["network_mode"] == "host"
    assert robot["ipc"] == "host"
    assert robot["ulimits"] == {"rtprio": 99, "memlock": -1}
    text = (ROOT / "docker" / "robot.Dockerfile").read_text(encoding="utf-8")
    packages = re.search(r"pip install.*?\n\n", text, re.S)[0]
    assert "trainer" not in packages
    assert "[server]" not in packages
