"""The ChArUco board: its measures, its picture, and finding it in a frame.

Board frame: origin at a corner of the pattern, x along its columns, y along its rows, z into the
board (OpenCV's convention; the printed side looks along -z). Metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError

Array = NDArray[np.float64]
UInt8Image = NDArray[np.uint8]

MIN_CORNERS = 6
"""Fewer corners of a board in a frame are not worth a pose."""

DICTIONARIES = {
    name: getattr(cv2.aruco, f"DICT_{name}")
    for name in ("4X4_50", "4X4_100", "5X5_50", "5X5_100", "6X6_50", "APRILTAG_36H11")
}


@dataclass(frozen=True, kw_only=True)
class Board:
    """A ChArUco board: `columns` x `rows` squares of `square_m`, markers of `marker_m` in white.

    `square_m` is what was measured on the print, not what was asked of the printer.
    """

    columns: int = 5
    rows: int = 4
    square_m: float = 0.05
    marker_m: float = 0.038
    dictionary: str = "4X4_50"

    def __post_init__(self) -> None:
        """Check that such a board can be made and seen."""
        if self.columns < 3 or self.rows < 3:
            raise ValueError(f"board: at least 3 x 3 squares, got {self.columns} x {self.rows}")
        if not 0 < self.marker_m < self.square_m:
            raise ValueError(
                f"board: markers ({self.marker_m} m) must be smaller than squares "
                f"({self.square_m} m)"
            )
        if self.square_m > 0.5:
            raise ValueError(
                f"board: squares of {self.square_m} m: is that in millimetres? Give metres."
            )
        if self.dictionary not in DICTIONARIES:
            raise ValueError(
                f"board: dictionary {self.dictionary!r} is unknown; one of {sorted(DICTIONARIES)}"
            )

    @property
    def size_m(self) -> tuple[float, float]:
        """The pattern's width and height."""
        return (self.columns * self.square_m, self.rows * self.square_m)

    @property
    def centre_m(self) -> Array:
        """The middle of the pattern `(3,)`, board frame."""
        return np.array([self.size_m[0] / 2, self.size_m[1] / 2, 0.0])

    @cached_property
    def corners_m(self) -> Array:
        """The inner corners `(N, 3)`, board frame; the index is the corner's id."""
        return np.asarray(self._charuco.getChessboardCorners(), float)

    @cached_property
    def _charuco(self) -> Any:
        kind = cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, kind)

    @cached_property
    def _detector(self) -> Any:
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        parameters.cornerRefinementWinSize = 3
        parameters.adaptiveThreshWinSizeMin = 5
        parameters.adaptiveThreshWinSizeMax = 33
        parameters.adaptiveThreshWinSizeStep = 7
        charuco = cv2.aruco.CharucoParameters()
        return cv2.aruco.CharucoDetector(self._charuco, charuco, parameters)

    def picture(self, pixels_per_square: int) -> UInt8Image:
        """Return the pattern as a grey picture `(rows * p, columns * p)`, without a margin."""
        size = (self.columns * pixels_per_square, self.rows * pixels_per_square)
        return np.asarray(self._charuco.generateImage(size, marginSize=0), np.uint8)

    def detect(self, frame: UInt8Image) -> Detection:
        """Find the board in a frame.

        Args:
            frame: `(H, W, 3)` RGB or `(H, W)` grey, uint8.

        Returns:
            the corners found; none where the board is not seen.
        """
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame
        corners, ids, _, marker_ids = self._detector.detectBoard(grey)
        height, width = grey.shape[:2]
        markers = 0 if marker_ids is None else len(marker_ids)
        if ids is None or len(ids) == 0:
            return Detection.nothing((width, height), markers)
        pixels = np.asarray(corners, float).reshape(-1, 2)
        return Detection(
            ids=np.asarray(ids, int).ravel(),
            pixels=pixels,
            size=(width, height),
            markers=markers,
            sharpness=_sharpness(grey, pixels),
        )

    def usable(self, detection: Detection) -> bool:
        """Say whether corners suffice for a pose: enough of them, and not all in one line."""
        return len(detection) >= MIN_CORNERS and self.spans(detection.ids)

    def spans(self, ids: NDArray[np.int_]) -> bool:
        """Say whether at least four corners are not all near one line."""
        if len(ids) < 4:
            return False
        points = self.corners_m[ids, :2]
        thickness = np.linalg.svd(points - points.mean(axis=0))[1][1]
        return bool(thickness > 0.9 * self.square_m)

    def wrong_way(self, frame: UInt8Image) -> str:
        """Say why a frame shows markers or a pattern, but not this board; "" if it shows nothing.

        Mirrored frames, boards of another dictionary, and boards of another layout are told apart.
        """
        if self.usable(self.detect(np.ascontiguousarray(frame[:, ::-1]))):
            return "the frame is mirrored: switch off mirroring in the camera's driver"
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame
        for name, number in DICTIONARIES.items():
            other = cv2.aruco.getPredefinedDictionary(number)
            _, ids, _ = cv2.aruco.ArucoDetector(other).detectMarkers(grey)
            if ids is not None and len(ids) >= 4:
                if name == self.dictionary:
                    return (
                        f"{len(ids)} markers of {name} are seen, but too few corners between them: "
                        "the board is partly hidden, too small in the frame, or not the one of "
                        f"{self.columns} x {self.rows} squares in OpenCV's present layout"
                    )
                return f"the board in view has markers of {name}, not of {self.dictionary}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Corners of a board in one frame.

    `ids` `(N,)` int; `pixels` `(N, 2)`, pixel centres at whole numbers; `size` (width, height);
    `markers` how many markers were read; `sharpness` is the edge width in pixels, small is sharp.
    """

    ids: NDArray[np.int_]
    pixels: Array
    size: tuple[int, int]
    markers: int = 0
    sharpness: float = 1.0

    @classmethod
    def nothing(cls, size: tuple[int, int], markers: int = 0) -> Detection:
        """Return the detection of a frame without a board."""
        return cls(ids=np.zeros(0, int), pixels=np.zeros((0, 2)), size=size, markers=markers)

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, keep: NDArray[np.bool_]) -> Detection:
        """Return the corners for which `keep` `(N,)` is true."""
        return Detection(
            ids=self.ids[keep],
            pixels=self.pixels[keep],
            size=self.size,
            markers=self.markers,
            sharpness=self.sharpness,
        )


def _sharpness(grey: UInt8Image, pixels: Array) -> float:
    """Return the typical edge width (px) around the corners: contrast over steepest slope."""
    widths = []
    for u, v in np.rint(pixels).astype(int):
        patch = grey[max(v - 5, 0) : v + 6, max(u - 5, 0) : u + 6].astype(np.float32)
        if min(patch.shape) < 6:
            continue
        contrast = float(np.percentile(patch, 95) - np.percentile(patch, 5))
        slope = min(  # the direction that a movement blurs
            float(np.percentile(np.abs(np.diff(patch, axis=0)), 98)),
            float(np.percentile(np.abs(np.diff(patch, axis=1)), 98)),
        )
        widths.append(contrast / max(slope, 1.0))
    return float(np.median(widths)) if widths else float("inf")


def measured(board: Board, *, nominal_bar_m: float, measured_bar_m: float) -> Board:
    """Return the board as printed: its squares scaled by what a ruler says of the scale bar.

    Raises:
        CalibrationError: if the scale is so far off that the print or the unit must be wrong.
    """
    scale = measured_bar_m / nominal_bar_m
    if not 0.9 < scale < 1.1:
        raise CalibrationError(
            f"the scale bar of {nominal_bar_m * 1000:.0f} mm measures "
            f"{measured_bar_m * 1000:.1f} mm, a scale of {scale:.3f}. Print again at 100% "
            '("actual size"), or check that the length was given in metres.'
        )
    return Board(
        columns=board.columns,
        rows=board.rows,
        square_m=board.square_m * scale,
        marker_m=board.marker_m * scale,
        dictionary=board.dictionary,
    )
