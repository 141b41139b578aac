"""JPEG images inside messages: the header is read before the decoder may allocate anything.

A lossy image is not the one the policy was trained on: use it where the network is the bottleneck,
at a high quality. Chroma is kept at full resolution, because grippers and cubes are small.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_policy_server.wire.arrays import WireError, show

MAX_SIDE = 4096
MAX_PIXELS = 8 * 1024 * 1024
START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
BASELINE = (0xC0, 0xC1)
OTHER_FRAMES = tuple(m for m in range(0xC2, 0xD0) if m not in (0xC4, 0xC8, 0xCC))
START_OF_SCAN = 0xDA


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return `image`, `(H, W, 3)` uint8 RGB, as a baseline JPEG of `quality` 1 to 100.

    Raises:
        WireError: if it is no RGB image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise WireError(f"expected uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")
    options = [
        *(int(cv2.IMWRITE_JPEG_QUALITY), quality),
        *(
            int(cv2.IMWRITE_JPEG_SAMPLING_FACTOR),
            int(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ),
    ]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise WireError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return bytes(data.data)


def decode_jpeg(data: object, *, field: str) -> NDArray[np.uint8]:
    """Return the `(H, W, 3)` uint8 RGB image that the baseline JPEG `data` holds.

    Raises:
        WireError: naming `field`, if it is too large, progressive, truncated or no JPEG.
    """
    if not isinstance(data, bytes):
        raise WireError(f"{field}: jpeg must be msgpack bin, got {show(data)}")
    height, width = _frame_size(data, field)
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS or min(height, width) < 1:
        raise WireError(
            f"{field}: the JPEG is {width}x{height}; at most {MAX_SIDE} pixels a side and "
            f"{MAX_PIXELS} pixels are accepted: send the contract's resolution"
        )
    if not data.endswith(END_OF_IMAGE):
        raise WireError(f"{field}: the JPEG is cut off (no end-of-image mark); send all its bytes")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise WireError(f"{field}: OpenCV cannot decode the JPEG ({error.code})") from error
    if image is None or image.shape != (height, width, 3):
        raise WireError(f"{field}: the JPEG of {len(data)} bytes is damaged; encode it again")
    return np.asarray(image, np.uint8)


def _frame_size(data: bytes, field: str) -> tuple[int, int]:
    """Return (height, width) from the frame header (ITU-T T.81, annex B)."""
    damaged = WireError(f"{field}: not a JPEG image ({len(data)} bytes starting {data[:4]!r})")
    if not data.startswith(START_OF_IMAGE):
        raise damaged
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            raise damaged
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in BASELINE and length >= 8 and data[at + 4] == 8:
            size = data[at + 5 : at + 9]
            return int.from_bytes(size[:2], "big"), int.from_bytes(size[2:], "big")
        if marker in BASELINE or marker in OTHER_FRAMES:
            raise WireError(
                f"{field}: only 8-bit baseline JPEG is accepted, this one is progressive or "
                f"another kind (frame marker 0x{marker:02X}); encode it as baseline"
            )
        if marker == START_OF_SCAN or length < 2:
            raise damaged
        at += 2 + length
    raise damaged
