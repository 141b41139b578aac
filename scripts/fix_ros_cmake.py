"""Make the CMake files of the ROS wheels usable on this machine.

Some of the wheels' CMake exports name the Python and numpy headers of the machine that built them.
This rewrites them, in the environment it runs in, to the headers of the running interpreter.
Needed before anything is built against the wheels (`build_msgs_wheel.py`, colcon), and again after
a message wheel was installed; running it twice does no harm. An apt install of ROS never needs it.

Usage: python scripts/fix_ros_cmake.py
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

BUILD_MACHINE = r"/opt/python/cp3\d+-cp3\d+"
NUMPY_HEADERS = re.compile(
    BUILD_MACHINE + r"/lib/python3\.\d+/site-packages/numpy/(?:_core|core)/include"
)
PYTHON_HEADERS = re.compile(BUILD_MACHINE + r"/include/python3\.\d+")


def rewritten(text: str, *, python_headers: str, numpy_headers: str) -> str:
    """Return `text` with the build machine's header folders replaced by ours."""
    text = NUMPY_HEADERS.sub(lambda _: numpy_headers, text)
    return PYTHON_HEADERS.sub(lambda _: python_headers, text)


def fix(prefix: Path) -> list[Path]:
    """Rewrite every CMake file under `prefix`/share that needs it; return those."""
    fixed = []
    for path in sorted((prefix / "share").rglob("*.cmake")):
        text = path.read_text(encoding="utf-8")
        new = rewritten(
            text,
            python_headers=sysconfig.get_paths()["include"],
            numpy_headers=np.get_include(),
        )
        if new != text:
            path.unlink()  # a wheel's file may be hard-linked to the installer's cache
            path.write_text(new, encoding="utf-8")
            fixed.append(path)
    return fixed


if __name__ == "__main__":
    print(f"{len(fix(Path(sys.prefix)))} CMake files rewritten under {sys.prefix}")
