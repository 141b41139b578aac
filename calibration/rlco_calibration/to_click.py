"""Pictures that somebody has yet to click in: taken at the bench, clicked there or anywhere later.

to_click/cube_0.yaml, cube_0.png                what is to be clicked, and the frame
to_click/marks_push_cube.yaml, .png
to_click/clicked/...                            done: the clicks are in objects/ and marks/
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec

from rlco_calibration.clicking import Clicker, Picture, pixels_of
from rlco_calibration.errors import CalibrationError
from rlco_calibration.marked_states import Mark, Marks
from rlco_calibration.objects import ObjectCapture, ObjectFolder

FOLDER, DONE = "to_click", "clicked"
Say = Callable[[str], None]


class Pictures:
    """The pictures of one calibration's folder."""

    def __init__(self, folder: Path) -> None:
        """Take the calibration's folder."""
        self.path, self._root = folder / FOLDER, folder

    def taken(self, name: str) -> bool:
        """Say whether a picture is there, clicked or not."""
        return any((path / f"{name}.yaml").is_file() for path in (self.path, self.path / DONE))

    @property
    def waiting(self) -> list[str]:
        """The names of pictures that nobody has clicked in yet."""
        return sorted(path.stem for path in self.path.glob("*.yaml"))

    def add(self, name: str, picture: Picture, frame: NDArray[np.uint8]) -> None:
        """Keep a frame `(H, W, 3)` RGB; its YAML is written last.

        Raises:
            CalibrationError: if the disk does not take it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / f"{name}.png"
        if not cv2.imwrite(str(file), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
            raise CalibrationError(f"{file}: cannot be written. Is the disk full?")
        spec.save(picture, self.path / f"{name}.yaml")

    def click(self, clicker: Clicker, say: Say) -> None:
        """Have everything clicked that waits, in order of names; what is clicked is kept at once.

        Raises:
            CalibrationError: if the clicker gives up, or naming a frame that cannot be read.
        """
        for name in self.waiting:
            picture = spec.load(Picture, self.path / f"{name}.yaml")
            found = cv2.imread(str(self.path / f"{name}.png"), cv2.IMREAD_COLOR)
            if found is None:
                raise CalibrationError(f"{self.path / name}.png cannot be read. Delete {name}.yaml")
            frame = np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)
            say(f"clicked: {self._clicked(clicker, picture, frame)}")
            (self.path / DONE).mkdir(exist_ok=True)
            for suffix in (".yaml", ".png"):  # without its YAML a frame no longer waits
                file = self.path / f"{name}{suffix}"
                file.rename(self.path / DONE / file.name)

    def _clicked(self, clicker: Clicker, picture: Picture, frame: NDArray[np.uint8]) -> str:
        """Have one picture clicked in, and return what that gave."""
        if not picture.task:
            capture = ObjectCapture(
                object=picture.object,
                camera=picture.camera,
                yaw_rad=picture.yaw_rad,
                clicks=clicker.box(picture, frame),
            )
            return ObjectFolder(self._root / "objects").add(capture, frame)
        pixels = pixels_of(clicker.marks(picture, frame))
        yaws = np.linspace(*picture.yaws_rad, len(pixels))
        marks = tuple(
            Mark(object=picture.object, pixel=pixel, yaw_rad=float(yaw))
            for pixel, yaw in zip(pixels, yaws, strict=True)
        )
        path = self._root / "marks" / f"{picture.task}.yaml"
        spec.save(Marks(task=picture.task, marks=marks, camera=picture.camera), path)
        return f"{len(marks)} marks of {picture.task}"
