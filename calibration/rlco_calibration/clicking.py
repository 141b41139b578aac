"""Have a person click points in a picture: in a window, where there is a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError
from rlco_calibration.marked_states import LEAST_MARKS
from rlco_calibration.objects import Clicks, Pixel
from rlco_calibration.parts import Range

Array = NDArray[np.float64]

WINDOW = "rlco-calibrate"
WIDEST_PX = 1600
BOX_PROMPTS = (
    *(f"corner on the table, {which}" for which in ("left", "middle", "right")),
    *(f"corner on top, {which}" for which in ("left", "middle", "right")),
)
ENTER, ESCAPE, UNDO = (10, 13), 27, ord("u")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is to be clicked in one frame: a box's corners, or the marks of a task's object."""

    camera: str
    object: str
    task: str = ""
    """Whose marks; "" where the box's corners are to be clicked."""
    place_m: tuple[float, float] = (0.0, 0.0)
    """Where the box was to be put (x, y), base frame."""
    yaw_rad: float = 0.0
    """How it was to be turned."""
    yaws_rad: Range = (0.0, 0.0)
    """Marks: the object starts turned by these, first mark to last."""


class Clicker(Protocol):
    """Whoever clicks: a person, or one who is simulated. Frames are `(H, W, 3)` RGB."""

    def box(self, picture: Picture, frame: NDArray[np.uint8]) -> Clicks:
        """Return the corners of a picture's box as clicked in its frame."""

    def marks(self, picture: Picture, frame: NDArray[np.uint8]) -> Array:
        """Return the pixels `(N, 2)` of the marked start positions of a picture's object."""


def pixels_of(points: Array) -> tuple[Pixel, ...]:
    """Return pixels `(N, 2)` as plain numbers."""
    return tuple((float(u), float(v)) for u, v in points)


class Window:
    """A person at a display: left click adds a point, `u` takes it back, Enter ends, Esc gives up.

    The picture is enlarged, so that clicks are finer than its pixels.
    """

    def __init__(self, *, marks: int = LEAST_MARKS) -> None:
        """Take how many marks of an object there are."""
        self._count = marks

    def click(self, camera: str, frame: NDArray[np.uint8], prompts: Sequence[str]) -> Array:
        """Show the frame and return what was clicked.

        Raises:
            CalibrationError: if there is no display, or the person gave up.
        """
        scale = max(WIDEST_PX // frame.shape[1], 1)
        picture = cv2.resize(
            cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), None, fx=scale, fy=scale,
            interpolation=cv2.INTER_CUBIC,
        )  # fmt: skip
        points: list[tuple[int, int]] = []

        def on_mouse(event: int, x: int, y: int, flags: int, data: object) -> None:
            if event == cv2.EVENT_LBUTTONDOWN and len(points) < len(prompts):
                points.append((x, y))

        try:
            cv2.namedWindow(WINDOW)
            cv2.setMouseCallback(WINDOW, on_mouse)
            while True:
                cv2.imshow(WINDOW, annotated(picture, points, prompts, camera))
                key = cv2.waitKey(30) & 0xFF
                if key == UNDO and points:
                    points.pop()
                if key == ESCAPE:
                    raise CalibrationError("given up: nothing was kept")
                if key in ENTER and len(points) == len(prompts):
                    break
            cv2.destroyWindow(WINDOW)
        except cv2.error as error:
            raise CalibrationError(
                "there is no display to click in. Give the pixels on the command line, or copy the "
                "folder to a machine with a display."
            ) from error
        return source_pixels(np.array(points, float), scale)

    def box(self, picture: Picture, frame: NDArray[np.uint8]) -> Clicks:
        """Have the six corners of a box clicked.

        Raises:
            CalibrationError: as `click`.
        """
        prompts = [f"{picture.object}: {text}" for text in BOX_PROMPTS]
        pixels = pixels_of(self.click(picture.camera, frame, prompts))
        return Clicks(table=pixels[:3], top=pixels[3:])

    def marks(self, picture: Picture, frame: NDArray[np.uint8]) -> Array:
        """Have as many marks clicked as were asked for.

        Raises:
            CalibrationError: as `click`.
        """
        prompts = [
            f"{picture.task}: mark {index + 1} of {picture.object}" for index in range(self._count)
        ]
        return self.click(picture.camera, frame, prompts)


def source_pixels(points: Array, scale: int) -> Array:
    """Return pixels `(N, 2)` of the frame from those of its enlargement; centres are whole."""
    return (points + 0.5) / scale - 0.5


def annotated(
    picture: NDArray[np.generic],
    points: Sequence[tuple[int, int]],
    prompts: Sequence[str],
    camera: str,
) -> NDArray[np.generic]:
    """Return the picture with the points so far and what is to be clicked next."""
    shown = picture.copy()
    for index, point in enumerate(points):
        cv2.drawMarker(shown, point, (0, 0, 255), cv2.MARKER_CROSS, 16, 1)
        place = (point[0] + 8, point[1] - 8)
        cv2.putText(shown, str(index + 1), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 255), 1)
    done = len(points) == len(prompts)
    text = "Enter: keep, u: undo" if done else f"click: {prompts[len(points)]} (u: undo, Esc: end)"
    line = f"{camera}: {text}"
    cv2.putText(shown, line, (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 4)
    cv2.putText(shown, line, (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1)
    return shown
