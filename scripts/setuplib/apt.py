"""Debian and Ubuntu packages: what to install, and a backports suite derived from own sources.

Debian 12's Mesa is too old for SAPIEN; its backports suite has a newer one. The suite's address
and key are taken from the apt sources the machine already uses, so that mirrors are respected.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .console import Runner, SetupError
from .interpreter import sudo

SOURCES = Path("/etc/apt")
BACKPORTS_FILE = SOURCES / "sources.list.d" / "rlco-backports.sources"
_KEPT_OPTIONS = {"signed-by": "Signed-By", "trusted": "Trusted", "arch": "Architectures"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One entry of apt's sources, of either format."""

    uris: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)  # deb822 names -> raw values

    def deb822(self) -> str:
        """Return the entry as a deb822 stanza."""
        lines = [
            "Types: deb",
            f"URIs: {self.uris}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
            *(f"{name}: {value}" for name, value in self.options.items()),
        ]
        return "\n".join(lines) + "\n"


def parse_deb822(text: str) -> list[Source]:
    """Return the enabled binary sources of a `.sources` file."""
    found = []
    for stanza in re.split(r"\n\s*\n", text.strip()):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] += "\n" + line  # continuation, such as an inline key
            elif ":" in line:
                key, _, value = line.partition(":")
                name = key.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        kept = {v: fields[v.lower()] for v in _KEPT_OPTIONS.values() if v.lower() in fields}
        found.append(
            Source(
                uris=" ".join(fields.get("uris", "").split()),
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                options=kept,
            )
        )
    return found


def parse_one_line(text: str) -> list[Source]:
    """Return the binary sources of a `.list` file."""
    found = []
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if not match:
            continue
        options = dict(part.partition("=")[::2] for part in (match[1] or "").split())
        found.append(
            Source(
                uris=match[2],
                suites=(match[3],),
                components=tuple(match[4].split()),
                options={
                    _KEPT_OPTIONS[name]: value.replace(",", " ")
                    for name, value in options.items()
                    if name in _KEPT_OPTIONS
                },
            )
        )
    return found


def read_sources(folder: Path = SOURCES) -> list[Source]:
    """Return all sources below an apt configuration folder."""
    found = []
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if path.is_file() and path.suffix in (".list", ".sources"):
            parse = parse_one_line if path.suffix == ".list" else parse_deb822
            found += parse(path.read_text(encoding="utf-8"))
    return found


def derive_suite(sources: Iterable[Source], base: str, wanted: str) -> Source | None:
    """Return the source to add for suite `wanted`, or None if one already has it.

    Raises:
        SetupError: no source has suite `base` to derive it from.
    """
    listed = list(sources)
    if any(wanted in source.suites for source in listed):
        return None
    for source in listed:
        if base in source.suites:
            return replace(source, suites=(wanted,), components=("main",))
    raise SetupError(
        f"no apt source on this machine has the suite {base!r}, so {wanted!r} cannot be derived "
        f"from it.\nAdd {wanted!r} to apt's sources by hand and run `make setup` again."
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The apt work that makes `packages` present."""

    packages: tuple[str, ...]
    suite: str = ""  # install from this suite; "" for the default
    new_source: Source | None = None

    def install_command(self) -> list[str]:
        """Return the apt-get words that install the packages."""
        target = ["-t", self.suite] if self.suite else []
        return ["apt-get", "install", "-y", "--no-install-recommends", *target, *self.packages]

    def instructions(self, staging: Path) -> str:
        """Return what a user who is not root has to type; stages the source file if needed."""
        lines = []
        if self.new_source:
            staging.mkdir(parents=True, exist_ok=True)
            staged = staging / BACKPORTS_FILE.name
            staged.write_text(self.new_source.deb822(), encoding="utf-8")
            lines.append(f"{sudo()}cp {staged} {BACKPORTS_FILE}")
        lines.append(f"{sudo()}apt-get update")
        lines.append(f"{sudo()}{' '.join(self.install_command())}")
        return "\n".join(f"  {line}" for line in lines)


def os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """Return the fields of the os-release file; empty if there is none."""
    if not path.is_file():
        return {}
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {key: value.strip("\"'") for key, separator, value in pairs if separator}


def plan(packages: Sequence[str], release: dict[str, str], sources: Iterable[Source]) -> Plan:
    """Return the plan for packages that must be recent: from backports on Debian 12.

    Raises:
        SetupError: Debian 12 without a source to derive backports from.
    """
    if release.get("ID") == "debian" and release.get("VERSION_ID") == "12":
        codename = release.get("VERSION_CODENAME", "bookworm")
        suite = f"{codename}-backports"
        new = derive_suite(sources, codename, suite)
        return Plan(packages=tuple(packages), suite=suite, new_source=new)
    return Plan(packages=tuple(packages))


def can_install() -> bool:
    """Whether this process may install packages: root, with apt-get."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def carry_out(work: Plan, run: Runner, *, what: str, staging: Path) -> None:
    """Install as root, or raise with the exact commands.

    Raises:
        SetupError: not root, no apt, or apt failed.
    """
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"{what} is missing and this machine has no apt-get. With its own package manager, "
            f"install what Debian calls: {' '.join(work.packages)}; then run `make setup` again."
        )
    if not can_install():
        raise SetupError(
            f"{what} is missing, and installing it needs root. Type:\n"
            f"{work.instructions(staging)}\nthen run `make setup` again."
        )
    if work.new_source:
        BACKPORTS_FILE.write_text(work.new_source.deb822(), encoding="utf-8")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    remedy = "Mend apt (the network, /etc/apt) and run `make setup` again."
    with contextlib.suppress(SetupError):  # an unreachable third-party source must not stop us
        run(["apt-get", "update", "-q"], remedy=remedy, extra_environment=quiet)
    run(work.install_command(), remedy=remedy, extra_environment=quiet)
