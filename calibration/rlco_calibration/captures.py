"""Captures on disk: a folder of frames and poses that survives a crash and can be added to.

captures/third_person/
  session.yaml        which camera, board and setup
  000000.png          one frame, lossless
  000000.yaml         where the arm was; written last, so that a capture is whole or not there
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.frames import pose_from_quaternion, quaternion_wxyz

from rlco_calibration.board import Board
from rlco_calibration.errors import CalibrationError

Array = NDArray[np.float64]
Place = Literal["gripper", "table"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a folder of captures is of."""

    camera: str
    board: Board
    board_place: Place
    """Where the board was: clamped to the hand, or lying on the table."""
    on_hand: bool = False
    """Whether the camera moves with the hand."""


@dataclass(frozen=True, kw_only=True)
class CaptureRecord:
    """Where the arm was when a frame was taken. Base frame; stamps of capture, ns."""

    frame_stamp_ns: int
    pose_stamp_ns: int
    position_m: tuple[float, float, float]
    quaternion_wxyz: tuple[float, float, float, float]
    moved_m: float = 0.0
    """How far the TCP went between the readings before and after the frame."""

    @property
    def T_base_tcp(self) -> Array:  # noqa: N802
        """The TCP pose `(4, 4)`; not checked for being one, so that a bad file can be named."""
        return pose_from_quaternion(self.position_m, self.quaternion_wxyz)


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One frame `(H, W, 3)` uint8 RGB with its record."""

    name: str
    frame: NDArray[np.uint8]
    record: CaptureRecord


class CaptureFolder:
    """A folder of captures."""

    def __init__(self, path: Path, session: Session) -> None:
        """Open `path`, or make it.

        Raises:
            CalibrationError: if the folder holds captures of something else.
        """
        self.path, self.session = path, session
        file = path / "session.yaml"
        if file.is_file():
            there = spec.load(Session, file)
            if there != session:
                differences = "; ".join(str(item) for item in spec.diff(there, session))
                raise CalibrationError(
                    f"{path} holds captures of another session ({differences}). Give another "
                    "folder, or move this one away."
                )
        else:
            spec.save(session, file)

    @classmethod
    def open(cls, path: Path) -> CaptureFolder:
        """Open an existing folder."""
        return cls(path, spec.load(Session, path / "session.yaml"))

    def __len__(self) -> int:
        return len(self._names())

    def add(
        self,
        frame: NDArray[np.uint8],
        T_base_tcp: Array,
        *,
        number: int | None = None,
        frame_stamp_ns: int,
        pose_stamp_ns: int,
        moved_m: float = 0.0,
    ) -> str:
        """Write one capture, under a number or the next that is free, and return its name."""
        if number is None:
            number = max(self.numbers, default=-1) + 1
        name = f"{number:06d}"
        x, y, z = (float(v) for v in T_base_tcp[:3, 3])
        qw, qx, qy, qz = quaternion_wxyz(T_base_tcp[:3, :3]).tolist()
        record = CaptureRecord(
            frame_stamp_ns=frame_stamp_ns,
            pose_stamp_ns=pose_stamp_ns,
            position_m=(x, y, z),
            quaternion_wxyz=(qw, qx, qy, qz),
            moved_m=moved_m,
        )
        if not cv2.imwrite(str(self.path / f"{name}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
            raise CalibrationError(f"{self.path}: cannot write {name}.png. Is the disk full?")
        spec.save(record, self.path / f"{name}.yaml")
        return name

    @property
    def numbers(self) -> set[int]:
        """The numbers of the captures that are there."""
        return {int(name) for name in self._names()}

    def captures(self) -> list[Capture]:
        """Read all captures, in order.

        Raises:
            CalibrationError: naming a frame that cannot be read.
        """
        found = []
        for name in self._names():
            picture = cv2.imread(str(self.path / f"{name}.png"), cv2.IMREAD_COLOR)
            if picture is None:
                raise CalibrationError(
                    f"{self.path / name}.png cannot be read. Delete {name}.yaml to go on without "
                    "it."
                )
            found.append(
                Capture(
                    name=name,
                    frame=np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8),
                    record=spec.load(CaptureRecord, self.path / f"{name}.yaml"),
                )
            )
        return found

    def _names(self) -> list[str]:
        return sorted(p.stem for p in self.path.glob("[0-9]*.yaml"))
