"""A real photo behind the twin: what a camera sees where the twin has no arm, object or table.

One photo of each camera, taken once, without distortion, kept inside the twin file: what a policy
is trained on is then still one file with one hash.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import Lens

UInt8Image = NDArray[np.uint8]

QUALITY = 92
"""Of the JPEG."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """The photo of the camera `name`, as a pinhole camera of these numbers (px) would take it."""

    name: str
    fx: float
    fy: float
    cx: float
    cy: float
    jpeg_base64: str

    def __post_init__(self) -> None:
        """Check the focal lengths, and that there is a picture."""
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"background {self.name}: focal lengths must be positive")
        _ = self.picture

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The `(3, 3)` pinhole matrix of the picture."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)

    @property
    def picture(self) -> UInt8Image:
        """The photo, `(H, W, 3)` RGB.

        Raises:
            ValueError: if the text holds none.
        """
        try:
            data = np.frombuffer(base64.b64decode(self.jpeg_base64, validate=True), np.uint8)
        except binascii.Error as error:
            raise ValueError(
                f"background {self.name}: jpeg_base64 is not base64 ({error})"
            ) from error
        found = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if found is None:
            raise ValueError(
                f"background {self.name}: jpeg_base64 holds no picture. Make it again."
            )
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)

    def seen_by(self, size: tuple[int, int], matrix: NDArray[np.float64]) -> UInt8Image:
        """Return the photo as a pinhole camera at the same place sees it, `(height, width, 3)`.

        Args:
            size: width and height of that camera's picture.
            matrix: its `(3, 3)` pinhole matrix, pixels; what lies beyond the photo repeats its rim.
        """
        to_photo = self.matrix @ np.linalg.inv(matrix)
        picture = self.picture
        shrink = float(to_photo[0, 0])
        if shrink > 1:  # as wide a blur as the pixels are large: no aliasing
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.4 * shrink), np.uint8)
        return np.asarray(
            cv2.warpPerspective(
                picture,
                to_photo,
                size,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )


def from_photo(name: str, lens: Lens, photo: UInt8Image) -> Background:
    """Return the background of a camera from a full frame `(H, W, 3)` RGB, less its distortion.

    Raises:
        CalibrationError: if the photo is of another size than the lens.
    """
    height, width = photo.shape[:2]
    if (width, height) != lens.size:
        raise CalibrationError(
            f"the photo is {width}x{height}, camera {name!r} has {lens.size[0]}x{lens.size[1]}: "
            "take it with this camera, as it publishes frames"
        )
    maps = cv2.initUndistortRectifyMap(
        lens.matrix, lens.coefficients, np.eye(3), lens.matrix, lens.size, cv2.CV_32FC1
    )
    ideal = cv2.remap(photo, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(ideal, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not done:
        raise CalibrationError(f"the photo of camera {name!r} cannot be written as a JPEG")
    return Background(
        name=name,
        fx=lens.fx,
        fy=lens.fy,
        cx=lens.cx,
        cy=lens.cy,
        jpeg_base64=base64.b64encode(data.tobytes()).decode(),
    )
