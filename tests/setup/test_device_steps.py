"""The set-up of what camera and teleoperation drivers need."""

from pathlib import Path

import pytest
from setuplib import devices, requirements
from setuplib.console import Runner, SetupError

ROOT = Path(__file__).resolve().parents[2]


def test_the_drivers_requirements_come_from_the_ros_package() -> None:
    found = {requirements.distribution(x) for x in requirements.ros_extras(ROOT, devices.EXTRAS)}
    assert {"pyrealsense2", "pyspacemouse", "dynamixel-sdk", "pynput"} <= found


def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("setuplib.apt.can_install", lambda: False)


def test_ci_insists_on_the_system_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_here(monkeypatch)
    run = Runner(log=tmp_path / "log", environment={})
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SetupError, match=r"libusb-1\.0-0 libhidapi-hidraw0 xvfb"):
        devices.install_system_packages(run, tmp_path)
    monkeypatch.delenv("CI")
    note = devices.install_system_packages(run, tmp_path)
    assert "without libusb-1.0-0 libhidapi-hidraw0 xvfb" in note


def test_nothing_is_installed_where_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: f"lib{name}.so")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    run = Runner(log=tmp_path / "log", environment={})
    assert devices.install_system_packages(run, tmp_path) == "realsense, teleop"
    assert not (tmp_path / "log").exists()
