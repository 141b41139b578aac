"""Fills a calibration's folder over ROS: the lab's processes, and `rlco-up calibrate` beside them.

What a bench shows comes from its topics alone. The lab's people put the board, the box and the
drawer where the calibration asks for them, and click in the pictures it kept.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rlco_calibration.errors import CalibrationError
from rlco_calibration.to_click import Pictures
from rlco_calibration.walk import Walk

from rlco.lab.clicker import LabClicker
from rlco.lab.unmeasured import WORKSPACE_FLOOR_M

Say = Callable[[str], None]
SESSIONS = ("captures,touches,objects,marks,appearance", "drawer,slides", "motions,pushes")
"""What is collected in one go: the drawer needs another scene, and pushes the box's height."""


def session_command(
    folder: Path, hidden: Path, training: Path, contract: str, *, steps: str, captures: int
) -> list[str]:
    """Return the command of one session: `rlco-up calibrate` with the arm moving by itself."""
    given = {
        "automatic": "true",
        "folder": folder,
        "twin": hidden,
        "measured": training,
        "contract": contract,
        "steps": steps,
        "captures": captures,
        "floor_m": WORKSPACE_FLOOR_M,
    }
    arguments = [f"{name}:={value}" for name, value in given.items()]
    return [sys.executable, "-m", "rlco.up", "calibrate", *arguments]


def gather_over_ros(
    walk: Walk,
    clicker: LabClicker,
    command: Callable[[str], Sequence[str]],
    say: Say,
) -> None:
    """Collect everything that is not there yet; sizes and cameras are measured on the way.

    Args:
        walk: whose folder is filled.
        clicker: the lab's people.
        command: returns the command that collects given steps; its output goes to stderr.
        say: told what is going on.

    Raises:
        CalibrationError: if a session ends with an error.
    """
    for steps in SESSIONS:
        say(f"over ROS: {steps}")
        code = subprocess.run(command(steps), stdout=sys.stderr, check=False).returncode
        if code:
            raise CalibrationError(
                f"`rlco-up calibrate steps:={steps}` ended with exit code {code}: see its output "
                "above. Started again, it goes on with what is missing."
            )
        Pictures(walk.folder).click(clicker, say)
        for step in ("cameras", "table", "objects"):
            if walk.wanted(step) and not walk.solved(step):
                getattr(walk, step)()
