"""The parameters of a camera node; a bench's YAML holds one of these for each camera."""

from __future__ import annotations

from dataclasses import dataclass

from rlco.parameters.base import ParameterError, Parameters, describe, parameter

DRIVERS = ("realsense", "uvc", "topic")
EXPOSURES = ("lock", "auto", "fixed")


@dataclass(frozen=True, kw_only=True)
class CameraSettings(Parameters):
    """One camera."""

    name: str = parameter("", "Name of the camera, as in the contract; part of its topics.")
    driver: str = parameter("realsense", f"One of: {', '.join(DRIVERS)}.")
    serial: str = parameter(
        "", "RealSense: serial number; may be empty where one camera is connected."
    )
    recording: str = parameter("", "RealSense: play this .db3 file instead of a live camera.")
    device: str = parameter(
        "",
        "UVC: the device, best by a path that stays, /dev/v4l/by-id/...; or a video file to play.",
    )
    topic: str = parameter("", "Topic: where the frames come from (Image or CompressedImage).")
    compressed: bool = parameter(False, "Topic: whether it is a CompressedImage.")
    repeat: bool = parameter(True, "Recordings and video files: begin again at the end.")
    width: int = parameter(640, "Frame width (pixels).", low=16, high=8192)
    height: int = parameter(480, "Frame height (pixels).", low=16, high=8192)
    rate_hz: int = parameter(30, "Frames a second.", low=1, high=1000)
    depth: bool = parameter(False, "RealSense: publish depth, aligned to the colour frame, too.")
    exposure: str = parameter(
        "lock",
        "lock: let the camera settle, then keep exposure and white balance; fixed: exposure_us and "
        "white_balance_k; auto: as the camera likes, so that the same scene looks different.",
    )
    exposure_us: float = parameter(
        8000.0, "Exposure time (us) where exposure is fixed.", low=1.0, high=1e6
    )
    white_balance_k: float = parameter(
        4600.0, "White balance (K) where exposure is fixed.", low=1000.0, high=12000.0
    )
    settle_s: float = parameter(
        2.0, "How long the camera settles before its exposure is locked (s).", low=0.0, high=60.0
    )
    latency_s: float = parameter(
        0.0,
        "Least time from capture to arrival (s), subtracted from the stamps; zero if not measured.",
        low=0.0,
        high=1.0,
    )
    timeout_s: float = parameter(
        2.0, "A camera that gives no frame for this long (s) is opened again.", low=0.05, high=60.0
    )
    retry_s: float = parameter(
        1.0, "Pause (s) before a lost camera is opened again.", low=0.05, high=60.0
    )
    twin: str = parameter(
        "",
        "Twin file whose camera of this name gives the pose in the base frame (published on TF) "
        "and, where the driver knows none, the intrinsics; empty: neither.",
    )

    def __post_init__(self) -> None:
        """Check ranges, choices and what the driver needs."""
        super().__post_init__()
        self.require("name", "driver")
        for name, choices in (("driver", DRIVERS), ("exposure", EXPOSURES)):
            if getattr(self, name) not in choices:
                raise ParameterError(
                    f"parameter {name!r} must be one of {', '.join(choices)}, got "
                    f"{getattr(self, name)!r}: {describe(type(self))[name]}"
                )
        if not self.name.isidentifier():
            raise ParameterError(
                f"camera name {self.name!r} must be letters, digits and underscores: it is part "
                "of topic names"
            )
        if self.driver == "uvc":
            self.require("device")
        if self.driver == "topic":
            self.require("topic")
