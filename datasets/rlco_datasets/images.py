"""The one function from a camera frame to the image that a policy sees.

Twin, recorder, loader, server and robot all call `policy_image`, so that training and deployment
cannot differ in crop, interpolation or channel order.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_datasets.contract import CameraSpec

UInt8Image = NDArray[np.uint8]


class ImageError(ValueError):
    """A camera frame is not what the contract says it is."""


def policy_image(frame: UInt8Image, camera: CameraSpec) -> UInt8Image:
    """Return the `(height, width, 3)` uint8 RGB image of `camera` from one frame.

    `frame` is `(H, W, 3)` uint8 RGB: either the contract's source resolution, or exactly a whole
    multiple (1, 2, ...) of the policy image, which is how the twin renders the cropped view alone
    (`policy_intrinsics`). Area interpolation, the only one that does not alias when shrinking.

    Raises:
        ImageError: naming the camera, the frame's shape and the shapes that are accepted.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ImageError(
            f"camera {camera.name!r}: expected uint8 RGB of shape (H, W, 3), got {frame.dtype} "
            f"{frame.shape}. Convert the driver's encoding to rgb8."
        )
    height, width = frame.shape[:2]
    if (width, height) == (camera.width, camera.height):
        return np.ascontiguousarray(frame)
    if (width, height) == (camera.source_width, camera.source_height):
        left, top, crop_width, crop_height = camera.crop
        frame = frame[top : top + crop_height, left : left + crop_width]
    elif (
        width % camera.width
        or height % camera.height
        or width * camera.height != height * camera.width
    ):
        raise ImageError(
            f"camera {camera.name!r}: frame is {width}x{height}, the contract says "
            f"{camera.source_width}x{camera.source_height}. Set the camera driver to that "
            "resolution, or change the contract and record again."
        )
    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def policy_intrinsics(
    intrinsics: NDArray[np.float64], camera: CameraSpec, scale: int = 1
) -> NDArray[np.float64]:
    """Return the `(3, 3)` pinhole matrix of the policy image, `scale` times enlarged.

    `intrinsics` is the matrix of the source frame in pixels, with pixel centres at whole numbers.
    """
    left, top, crop_width, crop_height = camera.crop
    sx = camera.width * scale / crop_width
    sy = camera.height * scale / crop_height
    fx, fy = intrinsics[0, 0] * sx, intrinsics[1, 1] * sy
    cx = (intrinsics[0, 2] - left + 0.5) * sx - 0.5
    cy = (intrinsics[1, 2] - top + 0.5) * sy - 0.5
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
