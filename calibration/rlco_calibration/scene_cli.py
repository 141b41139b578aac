"""`rlco-calibrate click | object | mark | scene | tasks`: objects, drawer, start states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec

from rlco_calibration.clicking import Picture, Window, pixels_of
from rlco_calibration.errors import CalibrationError
from rlco_calibration.marked_states import Mark, Marks
from rlco_calibration.objects import (
    Axis,
    Clicks,
    DepthSpot,
    ObjectCapture,
    ObjectFolder,
    Pixel,
    Tag,
)
from rlco_calibration.to_click import Pictures
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import OPTIONAL, SCENE, Walk


def _picture(path: Path, mode: int) -> NDArray[np.generic]:
    found = cv2.imread(str(path), mode)
    if found is None:
        raise CalibrationError(f"{path}: cannot be read as a picture")
    return np.asarray(found)


def _frame(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(_picture(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def _pixels(values: tuple[float, ...], option: str) -> tuple[Pixel, ...]:
    if len(values) % 2:
        raise CalibrationError(f"{option}: give u and v of every pixel, got {len(values)} numbers")
    return tuple(zip(values[::2], values[1::2], strict=True))


@dataclass(frozen=True, kw_only=True)
class ObjectCommand:
    """Keep a picture of a box on the table with what tells its size, for the step `objects`.

    Goes in: a frame of a measured camera, and one of: clicks at corners (given as pixels, or made
    in a window), a marker on the box, or an aligned depth picture and a pixel on the box. Comes
    out: a capture in FOLDER/objects. Keep three or more, the box at different places and turns.
    Example: rlco-calibrate object --folder runs/calibration --object cube --camera third_person
    --frame frame.png
    Example: rlco-calibrate object --folder runs/calibration --object cube --camera third_person
    --frame frame.png --tag-number 3 --tag-mm 25
    """

    folder: Path
    """The calibration's folder."""
    object: str
    """The object's name in the twin."""
    camera: str
    """The camera that the frame is of."""
    frame: Path
    """The picture."""
    yaw_deg: float = 0.0
    """Where the object's x axis points on the table, roughly; 0 is the robot's forward."""
    table_px: tuple[float, ...] = ()
    """u v of the three corners on the table that are seen, from left to right."""
    top_px: tuple[float, ...] = ()
    """u v of the three corners above them, from left to right; then the far one, if you like."""
    tag_number: int | None = None
    """Number of a marker that lies flat on the face that is up."""
    tag_mm: float = 0.0
    """Edge of the marker's black square."""
    tag_dictionary: str = "APRILTAG_36H11"
    """The marker's family: APRILTAG_36H11, 4X4_50, 4X4_100, 5X5_50, 5X5_100 or 6X6_50."""
    up: Axis = "z"
    """Which axis of the object is up in this picture: a marker tells the edge along it."""
    depth: Path | None = None
    """Depth aligned to the frame: a 16 bit PNG in millimetres."""
    spot_px: tuple[float, ...] = ()
    """u v of a pixel on the object, for depth."""

    def run(self) -> None:
        """Keep the capture.

        Raises:
            CalibrationError: if what was given does not go together.
        """
        frame = _frame(self.frame)
        try:
            capture = self._capture(frame)
        except ValueError as error:
            raise CalibrationError(str(error)) from error
        depth = None
        if self.depth is not None:
            depth = np.asarray(_picture(self.depth, cv2.IMREAD_UNCHANGED))
            if depth.dtype != np.uint16:
                raise CalibrationError(f"{self.depth}: depth must be of 16 bits, in millimetres")
        folder = ObjectFolder(self.folder / "objects")
        name = folder.add(capture, frame, depth)
        print(f"{folder.path / name}.yaml: kept ({len(folder)} in all)")

    def _capture(self, frame: NDArray[np.uint8]) -> ObjectCapture:
        tag, spot, clicks = None, None, None
        if self.tag_number is not None:
            tag = Tag(
                number=self.tag_number,
                edge_m=self.tag_mm / 1000,
                dictionary=self.tag_dictionary,
                up=self.up,
            )
        elif self.depth is not None:
            pixels = _pixels(self.spot_px, "--spot-px")
            if not pixels:
                pixels = pixels_of(Window().click(self.camera, frame, ("the object",)))
            spot = DepthSpot(pixel=pixels[0])
        else:
            clicks = self._clicks(frame)
        return ObjectCapture(
            object=self.object,
            camera=self.camera,
            yaw_rad=float(np.radians(self.yaw_deg)),
            clicks=clicks,
            tag=tag,
            depth=spot,
        )

    def _clicks(self, frame: NDArray[np.uint8]) -> Clicks:
        table, top = _pixels(self.table_px, "--table-px"), _pixels(self.top_px, "--top-px")
        if not table and not top:
            return Window().box(Picture(camera=self.camera, object=self.object), frame)
        return Clicks(table=table, top=top)


@dataclass(frozen=True, kw_only=True)
class MarkCommand:
    """Add marked start positions of an object to a task, for the step `tasks`.

    Goes in: positions on the table, as pixels of a measured camera (given, or clicked in a window),
    or as TCP positions touched. Comes out: FOLDER/marks/TASK.yaml with these marks added.
    Example: rlco-calibrate mark --folder runs/calibration --task push_cube --object cube
    --touched-m 0.42 -0.15 0.01 0.58 -0.15 0.01 0.58 0.1 0.01 0.42 0.1 0.01
    Example: rlco-calibrate mark --folder runs/calibration --task push_cube --object cube
    --camera third_person --frame frame.png --count 4
    """

    folder: Path
    """The calibration's folder."""
    task: str
    """The task's name in the twin."""
    object: str
    """The object (or drawer) that may start there."""
    yaw_deg: float = 0.0
    """How the object is turned at these marks."""
    touched_m: tuple[tuple[float, float, float], ...] = ()
    """TCP positions over the marks, metres, base frame."""
    camera: str = ""
    """The camera that pixels are of."""
    pixels: tuple[float, ...] = ()
    """u v of every mark."""
    frame: Path | None = None
    """A picture to click in, where no pixels are given."""
    count: int = 4
    """How many marks to click."""
    margin_mm: float | None = None
    """How much further than the outermost marks objects may stand; for the whole task."""
    margin_deg: float | None = None
    """How much further they may be turned; for the whole task."""

    def run(self) -> None:
        """Add the marks.

        Raises:
            CalibrationError: if there are none, or the camera is another than before.
        """
        pixels = _pixels(self.pixels, "--pixels")
        if self.frame is not None and not pixels:
            window = Window(marks=self.count)
            wanted = Picture(camera=self.camera, object=self.object, task=self.task)
            clicked = window.marks(wanted, _frame(self.frame))
            pixels = pixels_of(clicked)
        if not pixels and not self.touched_m and self.margin_mm is self.margin_deg is None:
            raise CalibrationError("no marks: give --touched-m, --pixels, or --frame to click in")
        if pixels and not self.camera:
            raise CalibrationError("pixels are of which camera? Give --camera")
        path = self.folder / "marks" / f"{self.task}.yaml"
        before = spec.load(Marks, path) if path.is_file() else Marks(task=self.task, marks=())
        if before.camera and self.camera and before.camera != self.camera:
            raise CalibrationError(
                f"{path} has marks in pictures of {before.camera!r}. Use that camera, or touch."
            )
        yaw_rad = float(np.radians(self.yaw_deg))
        new = [Mark(object=self.object, touched_m=at, yaw_rad=yaw_rad) for at in self.touched_m]
        new += [Mark(object=self.object, pixel=at, yaw_rad=yaw_rad) for at in pixels]
        try:
            marks = replace(
                before,
                marks=(*before.marks, *new),
                camera=self.camera or before.camera,
                margin_m=before.margin_m if self.margin_mm is None else self.margin_mm / 1000,
                margin_rad=before.margin_rad
                if self.margin_deg is None
                else float(np.radians(self.margin_deg)),
            )
        except ValueError as error:
            raise CalibrationError(str(error)) from error
        spec.save(marks, path)
        print(f"{path}: {len(marks.marks)} marks")


@dataclass(frozen=True, kw_only=True)
class ClickCommand:
    """Click in the pictures that the robot took for it: corners of boxes, marked positions.

    Goes in: FOLDER/to_click, as `rlco-up calibrate steps:=objects,marks` fills it. Comes out:
    captures in FOLDER/objects and FOLDER/marks/TASK.yaml, for the steps `objects` and `tasks`. Can
    be stopped (Esc) and gone on with; needs a display, not the robot.
    Example: rlco-calibrate click --folder runs/calibration
    """

    folder: Path
    """The calibration's folder."""
    marks: int = 4
    """How many marked positions there are in a picture of them."""

    def run(self) -> None:
        """Have everything clicked that waits."""
        pictures = Pictures(self.folder)
        print(f"{pictures.path}: {len(pictures.waiting)} pictures to click in")
        pictures.click(Window(marks=self.marks), print)


@dataclass(frozen=True, kw_only=True)
class SceneCommand:
    """Measure the table, the objects and the drawer from what was collected of them.

    Goes in: touches.yaml, objects/ and drawers/ of a calibration's folder; objects need the step
    `cameras`. Comes out: results/table.yaml, objects.yaml, drawer.yaml and their pictures.
    Example: rlco-calibrate scene --folder runs/calibration --twin bench.yaml
    """

    folder: Path
    """The calibration's folder."""
    twin: Path = field(default_factory=demo_bench)
    """The twin to start from."""

    def run(self) -> None:
        """Measure."""
        walk = Walk(self.folder, load_twin(self.twin), print)
        for step in SCENE:
            if walk.wanted(step):
                print(f"--- {step}")
                getattr(walk, step)()
            else:
                print(f"{step}: nothing collected in {self.folder / OPTIONAL[step]}")


@dataclass(frozen=True, kw_only=True)
class TasksCommand:
    """Fit where things start in each task to the positions that were marked.

    Goes in: marks/*.yaml of a calibration's folder. Comes out: results/tasks.yaml, and a picture of
    marks, fitted regions and the workspace from above.
    Example: rlco-calibrate tasks --folder runs/calibration --twin bench.yaml
    """

    folder: Path
    """The calibration's folder."""
    twin: Path = field(default_factory=demo_bench)
    """The twin to start from."""

    def run(self) -> None:
        """Fit."""
        walk = Walk(self.folder, load_twin(self.twin), print)
        walk.tasks()
        print(f"{walk.picture('tasks')}: marks and regions from above")
