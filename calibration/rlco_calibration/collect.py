"""Collect captures and touches from a bench: the parts of a calibration that move the arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import pose_matrix

from rlco_calibration.captures import CaptureFolder
from rlco_calibration.motion import TOOL_DOWN, Pace, go, touch
from rlco_calibration.parts import Workspace
from rlco_calibration.port import BenchPort

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Called with what is done, how many are done, and how many there are."""


def home(workspace: Workspace) -> Array:
    """Return a pose high in the middle of the workspace, tool down."""
    low, high = np.array(workspace.low_m), np.array(workspace.high_m)
    middle = (low + high) / 2
    return pose_matrix([middle[0], middle[1], low[2] + 0.6 * (high[2] - low[2])], TOOL_DOWN)


def capture_poses(
    port: BenchPort,
    camera: str,
    poses: Sequence[Array],
    folder: CaptureFolder,
    *,
    start: Array,
    progress: Progress,
    pace: Pace | None = None,
) -> Array:
    """Drive to each pose, wait for rest, and keep a capture; return the last target.

    Poses that the folder already holds captures for are skipped, so that a run can be resumed; so
    are those at which the arm finds no rest.
    """
    pace = pace or Pace()
    target = start
    for index, pose in enumerate(poses):
        if index in folder.numbers:
            continue
        rested = go(port, target, pose, width_m=0.04, pace=pace)
        target = pose
        if not rested:
            progress(
                f"captures of {camera} (no rest at this pose, left out)", index + 1, len(poses)
            )
            continue
        before = port.read()
        stamp_ns, frame = port.frame(camera)
        after = port.read()
        folder.add(
            frame,
            before.T_base_tcp,
            number=index,
            frame_stamp_ns=stamp_ns,
            pose_stamp_ns=before.stamp_ns,
            moved_m=float(np.linalg.norm(after.T_base_tcp[:3, 3] - before.T_base_tcp[:3, 3])),
        )
        progress(f"captures of {camera}", index + 1, len(poses))
    return target


def touch_table(
    port: BenchPort,
    points_m: Sequence[tuple[float, float]],
    *,
    start: Array,
    above_m: float,
    deepest_m: float,
    progress: Progress,
) -> tuple[Array, Array]:
    """Touch the table at points; return TCP positions at contact `(N, 3)` and the last target."""
    found, target = [], start
    for index, (x, y) in enumerate(points_m):
        height, target = touch(port, x, y, start=target, above_m=above_m, deepest_m=deepest_m)
        found.append([x, y, height])
        progress("touches of the table", index + 1, len(points_m))
    return np.array(found), target
