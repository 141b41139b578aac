"""The capture node: keeps frames of the calibration board with the arm's pose.

Service `calibrate/capture` (Trigger), or the operator's key for success: every camera's newest
frame goes to `FOLDER/captures/<camera>/`, which `rlco-calibrate` reads. A capture is refused while
the arm moves, or when the frame is older than the arm's rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rlco_calibration.captures import CaptureFolder, Session
from rlco_calibration.errors import CalibrationError
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from rlco.core.streams import Stream
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import StateSubscriptions
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.runtime import RlcoNode, declare, main, state_qos
from rlco.parameters import CaptureParameters, contract_named

KEY = "success"
POSES = 4000
"""Poses kept: some seconds of a 1 kHz state."""
AROUND_NS = 200_000_000
"""The arm must rest this long before a frame and up to now."""


class Capture(RlcoNode):
    """Keeps captures."""

    def __init__(self) -> None:
        """Open a folder for each camera."""
        super().__init__("capture")
        self._parameters = declare(self, CaptureParameters)
        contract = contract_named(self._parameters.contract)
        root = Path(self._parameters.folder, "captures")
        self._folders: dict[str, CaptureFolder] = {}
        self._frames: dict[str, Image] = {}
        self._poses = Stream(topics.POSE, capacity=POSES)
        on_hand = self._parameters.cameras_on_hand
        lying = self._parameters.board_place == "table"
        for camera in cameras_of(contract.camera_names, on_hand, lying=lying):
            path = root / camera
            path.mkdir(parents=True, exist_ok=True)
            session = Session(
                camera=camera,
                board=self._parameters.board,
                board_place="table" if lying else "gripper",
                on_hand=lying,
            )
            self._folders[camera] = CaptureFolder(path, session)
            self._subscribe(camera)
        StateSubscriptions(self, self._parameters, contract, self._on_state, with_images=False)
        self._diagnostics = Diagnostics(self)
        self.create_service(Trigger, topics.CAPTURE, self._on_capture)
        self.create_subscription(String, topics.TELEOP_EVENT, self._on_event, 10)

    def _subscribe(self, camera: str) -> None:
        def keep(message: Image) -> None:
            self._frames[camera] = message

        qos = state_qos(lock_step=self._parameters.lock_step, depth=1)
        self.create_subscription(Image, topics.image(camera), keep, qos)

    def _on_state(self, topic: str, stamp_ns: int, value: Any) -> None:
        if topic == topics.POSE:
            self._poses.push(stamp_ns, value)

    def _on_capture(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message = self.capture()
            response.success = True
        except (ValueError, CalibrationError, OSError) as error:
            response.message = str(error)
            self._diagnostics.error(f"no capture: {error}")
        return response

    def _on_event(self, message: String) -> None:
        if message.data == KEY:
            self._on_capture(Trigger.Request(), Trigger.Response())

    def capture(self) -> str:
        """Keep one capture of every camera; return what was kept.

        Raises:
            ValueError: if a camera is silent or the arm moves.
            CalibrationError: if a frame cannot be written.
        """
        missing = sorted(set(self._folders) - set(self._frames))
        if missing:
            raise ValueError(f"no frame on {', '.join(topics.image(name) for name in missing)} yet")
        kept = {}
        for camera, folder in self._folders.items():
            message = self._frames[camera]
            stamp_ns = wire.stamp_ns(message.header.stamp)
            pose_ns, pose, moved_m = self._rest(stamp_ns)
            name = folder.add(
                wire.image_array(message),
                pose,
                frame_stamp_ns=stamp_ns,
                pose_stamp_ns=pose_ns,
                moved_m=moved_m,
            )
            kept[camera] = f"{camera}/{name} ({len(folder)} in all)"
        told = ", ".join(kept.values())
        self._diagnostics.ok(told)
        self.get_logger().info(told)
        return told

    def _rest(self, stamp_ns: int) -> tuple[int, Any, float]:
        """Return stamp and pose at a frame, and how far the TCP went from before it until now."""
        at, newest = self._poses.before(stamp_ns), self._poses.newest
        if at is None or newest is None:
            raise ValueError(f"no pose on {topics.POSE} at the time of the frame")
        before = self._poses.before(stamp_ns - AROUND_NS) or self._poses.oldest or at
        away = [np.linalg.norm(item.value[:3, 3] - at.value[:3, 3]) for item in (before, newest)]
        moved_m = float(max(away))
        if moved_m > self._parameters.rest_m:
            raise ValueError(
                f"the arm moved {moved_m * 1e3:.1f} mm around the frame; let it come to rest "
                f"(parameter rest_m: {self._parameters.rest_m * 1e3:.1f} mm)"
            )
        return at.stamp_ns, at.value, moved_m


def cameras_of(names: tuple[str, ...], on_hand: tuple[str, ...], *, lying: bool) -> tuple[str, ...]:
    """Return which cameras capture the board: those on the hand if it is lying on the table.

    Raises:
        ValueError: naming a camera on the hand that the contract lacks, or if none is left.
    """
    unknown = sorted(set(on_hand) - set(names))
    if unknown:
        raise ValueError(f"on_hand: no camera {unknown[0]!r} in the contract; it has {names}")
    chosen = tuple(name for name in names if (name in on_hand) == lying)
    if not chosen:
        raise ValueError(
            f"no camera of {names} is left to capture a board in the gripper: all are on the hand. "
            "Lay it on the table (board_place table)."
        )
    return chosen


def run() -> None:
    """Run the node."""
    main(Capture)


if __name__ == "__main__":
    run()
