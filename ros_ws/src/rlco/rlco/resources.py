"""Where the package's data files are: installed by colcon or pip, or in the source tree."""

from __future__ import annotations

import sys
from pathlib import Path


def data_file(relative: str) -> Path:
    """Return the path of a file of `share/rlco`, for example `config/dds.xml`.

    Raises:
        FileNotFoundError: if the package was installed without its data files.
    """
    # A colcon workspace is found by the ament index; a plain environment need not be in it.
    candidates = [_ament_share(), Path(sys.prefix, "share", "rlco"), Path(__file__).parents[1]]
    for folder in candidates:
        if folder is not None and (folder / relative).is_file():
            return folder / relative
    raise FileNotFoundError(
        f"{relative} of the package rlco is in none of {[str(f) for f in candidates if f]}. "
        "Install the package again (pip install ros_ws/src/rlco, or colcon build)."
    )


def _ament_share() -> Path | None:
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_path
    except ModuleNotFoundError:
        return None  # no ROS here: the graphs can be read without it
    try:
        return Path(get_package_share_path("rlco"))
    except (PackageNotFoundError, OSError):
        return None
