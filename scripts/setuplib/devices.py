"""What the drivers of cameras and teleoperation devices need, for their tests."""

import ctypes.util
import os
import shutil
from pathlib import Path

from . import apt
from .console import Runner, SetupError

EXTRAS = ("realsense", "teleop")
"""Extras of the ROS package."""
LIBRARIES = {"libusb-1.0-0": "usb-1.0", "libhidapi-hidraw0": "hidapi-hidraw"}
"""Debian package -> shared library."""
PROGRAMS = {"xvfb": "Xvfb"}
"""Debian package -> program: a screen for the test of the desktop's keyboard."""


def missing_packages() -> tuple[str, ...]:
    """Return the Debian packages whose library or program is not on this machine."""
    libraries = [p for p, library in LIBRARIES.items() if not ctypes.util.find_library(library)]
    return (*libraries, *(p for p, program in PROGRAMS.items() if not shutil.which(program)))


def install_system_packages(run: Runner, staging: Path) -> str:
    """Install what is missing, as root on Debian or Ubuntu; return a note.

    Raises:
        SetupError: if something is missing on CI's machine.
    """
    missing = missing_packages()
    if missing and apt.can_install():
        work = apt.Plan(packages=missing)
        apt.carry_out(work, run, what=" ".join(missing), staging=staging)
        missing = missing_packages()
    if missing and os.environ.get("CI"):
        raise SetupError(f"CI must run the tests of devices: install {' '.join(missing)}.")
    if missing:
        return f"without {' '.join(missing)}: some device tests will say that they were skipped"
    return ", ".join(EXTRAS)
