"""The camera node with a camera that is unplugged while a file exists.

Frame `n` shows `n` in red; its device clock began at 5 s and runs 50 ppm fast.
"""

import os
import time
from pathlib import Path

import numpy as np
from rlco.drivers.camera.camera import CameraLostError, Frame, Intrinsics, Opened
from rlco.nodes.camera import CameraNode
from rlco.nodes.runtime import main

UNPLUGGED = Path(os.environ.get("FAKE_CAMERA_UNPLUGGED", "/nonexistent"))


class FakeCamera:
    def __init__(self, settings):
        self.settings = settings
        self.begun = time.monotonic_ns()
        self.number = 0

    def open(self):
        if UNPLUGGED.exists():
            raise CameraLostError("the fake camera is unplugged")
        return Opened(
            text=f"fake camera {self.number}",
            intrinsics=Intrinsics(width=64, height=48, fx=60.0, fy=61.0, cx=32.0, cy=24.0),
        )

    def read(self, timeout_s):
        if UNPLUGGED.exists():
            raise CameraLostError("the fake camera gave no frame")
        time.sleep(1 / self.settings.rate_hz)
        self.number += 1
        rgb = np.zeros((48, 64, 3), np.uint8)
        rgb[..., 0] = self.number % 256
        elapsed = time.monotonic_ns() - self.begun
        captured = 5_000_000_000 + elapsed + elapsed // 20_000
        depth = np.full((48, 64), 700, np.uint16) if self.settings.depth else None
        return Frame(rgb=rgb, captured_ns=captured, clock="fake", depth_mm=depth)

    def close(self):
        pass


if __name__ == "__main__":
    main(lambda: CameraNode(lambda settings, node, sleep: FakeCamera(settings)))
