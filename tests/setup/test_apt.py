"""Where a newer Mesa comes from, and what a user without root is told."""

from pathlib import Path

import pytest
from setuplib import apt
from setuplib.console import Runner, SetupError

MIRROR = "http://mirror.example/debian"
KEY = "/usr/share/keyrings/some-archive-keyring.gpg"
DEB822 = f"""\
Types: deb
# a comment inside a stanza
URIs: {MIRROR}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEY}

Types: deb
URIs: {MIRROR}-security
Suites: bookworm-security
Components: main
Signed-By: {KEY}
"""
INLINE_KEY = f"""\
Types: deb deb-src
URIs: {MIRROR}
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD+w
 -----END PGP PUBLIC KEY BLOCK-----
"""
ONE_LINE = f"""\
# deb {MIRROR} bookworm-disabled main
deb-src {MIRROR} bookworm main
deb [arch=amd64,arm64 signed-by={KEY}] {MIRROR} bookworm main contrib # trailing
deb {MIRROR} bookworm-updates main
"""
DEBIAN_12 = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
UBUNTU_24 = {"ID": "ubuntu", "VERSION_ID": "24.04", "VERSION_CODENAME": "noble"}
DEBIAN_13 = {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie"}


def test_deb822_stanzas_are_read() -> None:
    first, second = apt.parse_deb822(DEB822)
    assert first.uris == MIRROR
    assert first.suites == ("bookworm", "bookworm-updates")
    assert first.components == ("main", "contrib")
    assert first.options == {"Signed-By": KEY}
    assert second.suites == ("bookworm-security",)


def test_disabled_and_source_only_stanzas_do_not_count() -> None:
    assert apt.parse_deb822(DEB822.replace("Types: deb\n", "Types: deb\nEnabled: no\n")) == []
    assert apt.parse_deb822("Types: deb-src\nURIs: x\nSuites: bookworm\n") == []


def test_one_line_sources_are_read() -> None:
    first, second = apt.parse_one_line(ONE_LINE)
    assert first.uris == MIRROR
    assert first.components == ("main", "contrib")
    assert first.options == {"Architectures": "amd64 arm64", "Signed-By": KEY}
    assert second.suites == ("bookworm-updates",)
    assert second.options == {}


@pytest.mark.parametrize(
    ("name", "text"), [("a.sources", DEB822), ("a.list", ONE_LINE), ("b.sources", INLINE_KEY)]
)
def test_backports_keep_address_and_key(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    work = apt.plan(["libvulkan1"], DEBIAN_12, apt.read_sources(tmp_path))
    assert work.suite == "bookworm-backports"
    assert work.new_source is not None
    (again,) = apt.parse_deb822(work.new_source.deb822())
    assert again == work.new_source
    assert again.uris == MIRROR
    assert again.suites == ("bookworm-backports",)
    assert again.components == ("main",)
    assert (KEY in again.options["Signed-By"]) or ("PGP" in again.options["Signed-By"])


def test_the_old_sources_list_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "x.list.disabled").write_text("deb http://other.example y main")
    assert [source.uris for source in apt.read_sources(tmp_path)] == [MIRROR, MIRROR]


def test_a_suite_that_is_there_is_not_added_again() -> None:
    sources = apt.parse_one_line(ONE_LINE + f"deb {MIRROR} bookworm-backports main\n")
    work = apt.plan(["mesa-vulkan-drivers"], DEBIAN_12, sources)
    assert work.new_source is None
    assert work.install_command()[-3:] == ["-t", "bookworm-backports", "mesa-vulkan-drivers"]


@pytest.mark.parametrize("release", [UBUNTU_24, DEBIAN_13])
def test_recent_systems_need_no_backports(release: dict[str, str]) -> None:
    work = apt.plan(["mesa-vulkan-drivers"], release, apt.parse_deb822(DEB822))
    assert work == apt.Plan(packages=("mesa-vulkan-drivers",))
    assert "-t" not in work.install_command()


def test_nothing_to_derive_from_is_an_error_that_names_the_suite() -> None:
    with pytest.raises(SetupError, match="bookworm-backports"):
        apt.plan(["mesa-vulkan-drivers"], DEBIAN_12, [])


def test_without_root_the_commands_are_spelled_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    ran: list[object] = []
    runner = Runner(log=tmp_path / "log", environment={})
    monkeypatch.setattr(Runner, "__call__", lambda *words, **_: ran.append(words))
    work = apt.plan(["libvulkan1"], DEBIAN_12, apt.parse_deb822(DEB822))
    with pytest.raises(SetupError) as caught:
        apt.carry_out(work, runner, what="a Vulkan driver", staging=tmp_path / "staging")
    message = str(caught.value)
    staged = tmp_path / "staging" / "rlco-backports.sources"
    assert ran == []
    assert f"sudo cp {staged} {apt.BACKPORTS_FILE}" in message
    assert "sudo apt-get update" in message
    assert "sudo apt-get install -y --no-install-recommends -t bookworm-backports libvulkan1" in (
        message
    )
    assert apt.parse_deb822(staged.read_text()) == [work.new_source]


def test_without_apt_the_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SetupError, match=r"no apt-get.*libvulkan1 mesa-vulkan-drivers"):
        apt.carry_out(
            apt.Plan(packages=("libvulkan1", "mesa-vulkan-drivers")),
            Runner(log=tmp_path / "log", environment={}),
            what="a Vulkan driver",
            staging=tmp_path,
        )


def test_os_release_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text('ID=debian\nVERSION_ID="12"\n# x\n\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    assert apt.os_release(path)["VERSION_ID"] == "12"
    assert apt.os_release(tmp_path / "none") == {}
