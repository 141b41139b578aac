"""`rlco-calibrate appearance`: colours, lights and noise from pictures of known places."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rlco_datasets.initial_condition import InitialCondition, ObjectPose

from rlco_calibration import appearance
from rlco_calibration.errors import CalibrationError
from rlco_calibration.simulators import simulator
from rlco_calibration.steps import contract_named
from rlco_calibration.twin import Twin, demo_bench, load_twin
from rlco_calibration.walk import Walk


@dataclass(frozen=True, kw_only=True)
class AppearanceCommand:
    """Measure the colours of table and objects, the lights, and the camera's noise.

    Goes in: FOLDER/appearance, as `rlco-up calibrate steps:=appearance` fills it, or frames given
    here, of a camera that is measured: full frames as it publishes them, not rectified, the arm at
    rest with its tool down and the gripper open, everything of a task at a known place. Several
    frames of the same, one after another, tell the noise. Comes out: results/appearance.yaml, which
    `rlco-calibrate walk --steps twin` puts into twin.yaml, and pictures/appearance.png: real, the
    twin before, the twin now.
    Example: rlco-calibrate appearance --folder runs/calibration
    Example: rlco-calibrate appearance --folder runs/calibration --camera third_person --task
    push_cube --frames a.png b.png --tcp-m 0.36 0.28 0.4 --at cube 0.5 0.1 30 goal 0.62 0 0
    """

    folder: Path
    """The calibration's folder."""
    twin: Path = field(default_factory=demo_bench)
    """The twin to start from."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    camera: str = ""
    """The camera that --frames are of."""
    frames: tuple[Path, ...] = ()
    """Frames to keep first, of one arrangement."""
    task: str = ""
    """The task whose objects are in --frames."""
    tcp_m: tuple[float, float, float] | None = None
    """Where the TCP is in --frames, metres, base frame."""
    at: tuple[tuple[str, float, float, float], ...] = ()
    """Where every object of the task is in --frames: name, x, y (m, base frame) and yaw (degrees);
    a drawer that is not named stands where the twin says."""

    def run(self) -> None:
        """Keep the frames, if any, and measure.

        Raises:
            CalibrationError: if what was given does not go together, or cannot be used.
        """
        start = load_twin(self.twin)
        walk = Walk(self.folder, start, print)
        if self.frames:
            self._keep(start)
        with closing(simulator(contract_named(self.contract))) as twins:
            walk.appearance(twins)
        print(f"{walk.picture('appearance')}: real, the twin before, the twin now")

    def _keep(self, twin: Twin) -> None:
        if not (self.camera and self.task and self.tcp_m is not None):
            raise CalibrationError("--frames need --camera, --task, --tcp-m and --at")
        twin.camera(self.camera)
        given = {name for name, *_ in self.at}
        placed = {place.name for place in twin.task(self.task).placements}
        wrong = sorted((given ^ placed) - {drawer.name for drawer in twin.drawers})
        if wrong:
            raise CalibrationError(
                f"--at must say where each of {sorted(placed)} is (the task {self.task!r} has "
                f"these); see {wrong[0]!r}"
            )
        pictures = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in self.frames]
        for path, picture in zip(self.frames, pictures, strict=True):
            if picture is None:
                raise CalibrationError(f"{path}: cannot be read as a picture")
        number = len(list((self.folder / appearance.FOLDER).glob("*.yaml")))
        name = f"{self.task}_{number}"
        seen = appearance.Seen(
            camera=self.camera,
            start=InitialCondition(
                name=name,
                task=self.task,
                objects=tuple(_stood(*one) for one in self.at),
                tcp_position_m=self.tcp_m,
            ),
        )
        frames = [np.asarray(cv2.cvtColor(np.asarray(p), cv2.COLOR_BGR2RGB)) for p in pictures]
        appearance.keep(self.folder, name, seen, frames)
        print(f"{self.folder / appearance.FOLDER / name}.yaml: kept {len(frames)} frames")


def _stood(name: str, x_m: float, y_m: float, yaw_deg: float) -> ObjectPose:
    """Return the pose; its height is the table's, as measured, when the picture is used."""
    half = np.radians(yaw_deg) / 2
    return ObjectPose(
        name=name,
        position_m=(x_m, y_m, 0.0),
        quaternion_wxyz=(float(np.cos(half)), 0.0, 0.0, float(np.sin(half))),
    )
