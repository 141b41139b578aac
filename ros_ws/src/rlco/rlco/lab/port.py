"""The simulated lab as a `BenchPort`, in this process: for grading and tests without ROS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.board import Board
from rlco_calibration.initial_states import stood
from rlco_calibration.parts import CameraModel
from rlco_calibration.port import BoardPlace, Reading
from rlco_calibration.twin import Twin
from rlco_datasets.initial_condition import InitialCondition

from rlco.lab.bench import SimulatedBench
from rlco.lab.board_view import BoardView, drawn_mounts

Array = NDArray[np.float64]

GROUND = 120.0
"""Brightness of what a camera on the hand sees around the board."""


class LabBoard:
    """The lab's printed board, and where its people have put it."""

    def __init__(self, twin: Twin, board: Board, *, on_hand: tuple[CameraModel, ...] = ()) -> None:
        """Take the lab's hidden twin, which says what its cameras see.

        Cameras `on_hand` have their pose in the TCP's frame; they see the board on a grey ground,
        for a twin's renderer has fixed cameras only.
        """
        self._on_hand = {camera.name: camera for camera in on_hand}
        self._hand_views = {c.name: BoardView(c, twin.lighting, board) for c in on_hand}
        self._mounts = drawn_mounts(twin, board)
        self._views = {c.name: BoardView(c, twin.lighting, board) for c in twin.cameras}
        self._rng = np.random.default_rng(0)
        self.place: BoardPlace = "none"

    def shown(self, camera: str, frame: NDArray[np.uint8], T_base_tcp: Array) -> NDArray[np.uint8]:
        """Return a camera's frame with the board in it, where it is in view."""
        if self.place == "none":
            return frame
        held = self.place == "gripper"
        pose = T_base_tcp @ self._mounts.T_tcp_board if held else self._mounts.T_base_board
        return self._views[camera].draw(frame, pose, self._rng)

    def seen_by_hand(self, camera: str, T_base_tcp: Array) -> NDArray[np.uint8] | None:
        """Return what a camera on the hand sees, `(H, W, 3)`; None where there is no such one."""
        model = self._on_hand.get(camera)
        if model is None:
            return None
        ground = self._rng.normal(GROUND, model.noise_std, (model.height, model.width, 3))
        frame = np.clip(np.rint(ground), 0, 255).astype(np.uint8)
        if self.place != "table":
            return frame
        here = T_base_tcp @ model.T_base_camera
        return self._hand_views[camera].draw(frame, self._mounts.T_base_board, self._rng, here)


class LabPort:
    """A bench in this process, whose people also set up other tasks on it."""

    def __init__(
        self, twin: Twin, build: Callable[[str], SimulatedBench], task: str, board: LabBoard
    ) -> None:
        """Take the lab's hidden twin, and what sets up a task's bench (reset already)."""
        self._twin, self._build, self._board = twin, build, board
        self._benches = {task: build(task)}
        self._bench = self._benches[task]

    def read(self) -> Reading:
        """Return the arm's state now."""
        scene = self._bench.scene
        return Reading(
            stamp_ns=self._bench.stamp_ns,
            T_base_tcp=scene.T_base_tcp,
            width_m=scene.gripper_width_m,
        )

    def frame(self, camera: str) -> tuple[int, NDArray[np.uint8]]:
        """Return a frame with the board in it."""
        scene = self._bench.scene
        shown = self._board.seen_by_hand(camera, scene.T_base_tcp)
        if shown is None:
            shown = self._board.shown(camera, scene.source_frame(camera), scene.T_base_tcp)
        return self._bench.stamp_ns, shown

    def objects(self) -> dict[str, Array]:
        """Return `T_base_object` by name."""
        return dict(self._bench.scene.object_poses())

    def command(self, T_base_target: Array, width_m: float) -> Array:
        """Go on by one control period."""
        stamp_ns = self._bench.stamp_ns
        self._bench.offer_pose(stamp_ns, T_base_target)
        self._bench.offer_width(stamp_ns, width_m)
        self._bench.advance()
        return T_base_target

    def place_board(self, where: BoardPlace) -> None:
        """Have the board put somewhere."""
        self._board.place = where

    def lay_out(self, condition: InitialCondition) -> None:
        """Have the objects stood on the table; the arm goes to the condition's start.

        Heights are the lab's own: people put things on the table, whatever a calibration believes.
        """
        if condition.task not in self._benches:
            self._benches[condition.task] = self._build(condition.task)
        bench = self._benches[condition.task]
        bench.stamp_ns = max(bench.stamp_ns, self._bench.stamp_ns)
        self._bench = bench
        bench.reset(stood(self._twin, condition))
