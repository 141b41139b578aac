"""Collect everything that a calibration needs from a bench, into its folder, resumable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.initial_condition import InitialCondition, ObjectPose

from rlco_calibration import collect, excite, plan
from rlco_calibration.board import Board
from rlco_calibration.captures import CaptureFolder, Session
from rlco_calibration.clicking import Clicker
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather_scene import DRAWER_TASK, SceneGatherer
from rlco_calibration.gather_slides import slides
from rlco_calibration.motion import Pace, go
from rlco_calibration.parts import CameraModel
from rlco_calibration.port import BenchPort
from rlco_calibration.results import vector3
from rlco_calibration.scene import Touches
from rlco_calibration.to_click import Pictures
from rlco_calibration.walk import SCENE, Walk

Array = NDArray[np.float64]
Say = Callable[[str], None]

CLAMP_M = np.array([0.5, -0.12, 0.28])
"""Where the hand is, tool down, when the board is clamped so that it faces the camera."""
TOUCH_XY_M = tuple((x, y) for x in (0.36, 0.46, 0.56) for y in (-0.24, 0.2))
CLEAR_M = (0.68, 0.0)
"""Where the object is out of the way of touches."""
ABOVE_M, DEEPEST_M = 0.06, -0.04
ENOUGH = 0.6
"""Share of the planned captures with which a folder counts as complete."""
EXCITATIONS = ((0, 30), (1, 45), (2, 30))
"""Seed and length (control periods) of every excitation; the last only tests the fit."""
ARM_START_M = (0.5, 0.0, 0.25)
PUSHES = ((0.45, 0.0, 0.0), (0.45, 0.03, 0.0), (0.45, -0.03, 0.0))
"""Where the object stands (x, y; m) and where it is pushed to (rad): square to its face, for an
object that is pushed at an edge spins, and how is nearly chance."""
CLOSED_M, OPEN_M = 0.0, 0.04
PUSH_TASK = "push_cube"
DRAWER_STEPS = {"drawer", "slides"}
"""What is collected with the bench set up for the drawer."""


def task_of(steps: str) -> str:
    """Return the task that the bench is to be set up for, to collect `steps` (comma-separated)."""
    wanted = {step.strip() for step in steps.split(",")} - {""}
    return DRAWER_TASK if wanted and wanted <= DRAWER_STEPS else PUSH_TASK


class Gatherer:
    """Runs the moving parts of a calibration against a bench."""

    def __init__(
        self, port: BenchPort, walk: Walk, say: Say, clicker: Clicker | None = None
    ) -> None:
        """Take the bench, the walk whose folder is filled, and whoever clicks, if anybody does."""
        self._port, self._walk, self._say, self._clicker = port, walk, say, clicker
        self._twin = walk.start

    def captures(self, camera: str, board: Board, *, count: int, seed: int = 0) -> None:
        """Capture the board in the hand at poses that are chosen to tell the most."""
        model = self._twin.camera(camera)
        lens = model.lens
        guess = plan.Guess(
            setup="eye_to_hand",
            lens=lens,
            X=model.T_base_camera,
            Y=plan.nominal_mount(board, model.T_base_camera, CLAMP_M),
        )
        session = Session(camera=camera, board=board, board_place="gripper")
        self._capture(session, guess, count=count, seed=seed)

    def captures_on_hand(
        self, camera: CameraModel, board: Board, *, count: int, seed: int = 0
    ) -> None:
        """Capture the board on the table with a camera on the hand.

        Args:
            camera: its lens as the maker tells it, and its rough pose in the TCP's frame (not in
                the base's, as a twin's cameras).
            board: lies on the table, print up, its middle roughly at `plan.LAID_M`.
            count: poses to go to.
            seed: of the poses that are drawn.

        Raises:
            CalibrationError: if too few poses in the workspace show the board to the camera.
        """
        guess = plan.Guess(
            setup="eye_in_hand",
            lens=camera.lens,
            X=camera.T_base_camera,
            Y=plan.nominal_lying(board, self._walk.measured(("table",)).table.height_m),
        )
        session = Session(camera=camera.name, board=board, board_place="table", on_hand=True)
        self._capture(session, guess, count=count, seed=seed)

    def _capture(self, session: Session, guess: plan.Guess, *, count: int, seed: int) -> None:
        camera = session.camera
        folder = CaptureFolder(self._walk.folder / "captures" / camera, session)
        if len(folder) >= ENOUGH * count:
            self._say(f"{camera}: {len(folder)} captures are there already")
            return
        rng = np.random.default_rng(seed)
        chosen = plan.suggest(session.board, guess, self._twin.workspace, count, rng)
        start = self._home()
        tour = plan.short_tour(chosen, start[:3, 3])
        self._port.place_board(session.board_place)
        last = collect.capture_poses(
            self._port, camera, tour, folder, start=start, progress=self._progress
        )
        self._port.place_board("none")
        go(self._port, last, self._home_pose, width_m=OPEN_M, pace=Pace())
        self._say(f"{camera}: {len(folder)} captures in {folder.path}")

    def touches(self) -> None:
        """Touch the table with the closed fingers at points spread over it."""
        path = self._walk.folder / "touches.yaml"
        if path.is_file():
            return
        height = self._table_m()
        self._port.lay_out(self._condition("touches", ARM_START_M, CLEAR_M, height))
        points, last = collect.touch_table(
            self._port,
            TOUCH_XY_M,
            start=self._home(),
            above_m=self._twin.table.height_m + ABOVE_M,
            deepest_m=self._twin.table.height_m + DEEPEST_M,
            progress=self._progress,
        )
        go(self._port, last, self._home_pose, width_m=OPEN_M, pace=Pace())
        spec.save(Touches(positions_m=tuple(vector3(point) for point in points)), path)

    def motions(self) -> None:
        """Excite the arm: jumps in the air, small ones first."""
        height = self._table_m()
        for seed, count in EXCITATIONS:
            path = self._walk.folder / "motions" / f"{seed:02d}.npz"
            if path.is_file():
                continue
            rng = np.random.default_rng(seed)
            targets = excite.excitation(ARM_START_M, self._twin.workspace, rng, count)
            condition = self._condition(f"excitation-{seed}", ARM_START_M, (0.4, 0.28), height)
            excite.record(self._port, condition, targets, width_m=OPEN_M).save(path)
            self._progress("motions of the arm", seed + 1, len(EXCITATIONS))

    def pushes(self) -> None:
        """Push the object and stop: how far it slides tells its friction.

        Raises:
            CalibrationError: if nothing tracks the object.
        """
        height = self._table_m()
        for index, (x, y, towards) in enumerate(PUSHES):
            path = self._walk.folder / "pushes" / f"{index:02d}.npz"
            if path.is_file():
                continue
            half = self._half_m
            start, targets = excite.push((x, y), height + half, towards)
            condition = self._condition(f"push-{index}", vector3(start), (x, y), height)
            recording = excite.record(self._port, condition, targets, width_m=CLOSED_M)
            if not recording.track.objects:
                raise CalibrationError(
                    "nothing tells where the object is: friction needs a tracker of objects. Type "
                    "friction into ruler.yaml instead."
                )
            recording.save(path)
            self._progress("pushes", index + 1, len(PUSHES))

    def everything(
        self,
        cameras: tuple[str, ...],
        board: Board,
        *,
        count: int,
        steps: tuple[str, ...] = ("captures", "touches", "motions", "pushes"),
    ) -> None:
        """Collect all that is not there yet. What later steps need is solved on the way.

        Steps: captures, touches, motions and pushes; and where asked for `drawer` (touches of it)
        and `slides` (pushes of it), and `objects` and `marks`, pictures that somebody is to click
        in: now, or where nobody is here, later; and `appearance`, pictures of known places.

        Raises:
            CalibrationError: naming what cannot be collected, or what collected cannot be used.
        """
        if "captures" in steps:
            for camera in cameras:
                self.captures(camera, board, count=count)
        if "touches" in steps:
            self.touches()
            self._walk.table()
        scene = SceneGatherer(self._port, self._walk, self._say)
        if "objects" in steps:
            scene.objects(cameras[0])
        if "marks" in steps:
            scene.marks(cameras[0])
        if "appearance" in steps:
            scene.appearance(cameras[0])
        self._click(scene.pictures)
        if "drawer" in steps:
            scene.drawer(self._home())
        if "slides" in steps:
            if self._walk.wanted("drawer") and not self._walk.solved("drawer"):
                self._walk.drawer()
            slides(self._port, self._walk, self._say)
        if "motions" in steps:
            self.motions()
        if "pushes" in steps:
            self.pushes()

    def _click(self, taken: Pictures) -> None:
        """Have the pictures clicked in, and measure what they show: later steps use the sizes."""
        if not taken.waiting:
            return
        if self._clicker is None:
            self._say(
                f"{len(taken.waiting)} pictures in {taken.path} wait for somebody who clicks: "
                f"rlco-calibrate click --folder {self._walk.folder}"
            )
            return
        taken.click(self._clicker, self._say)
        if self._walk.wanted("objects"):
            if not self._walk.solved("cameras"):
                self._walk.cameras()
            self._walk.objects()

    @property
    def _half_m(self) -> float:
        """Half the height of the cube, as measured so far."""
        return self._walk.measured(SCENE).object_model("cube").size_m[2] / 2

    def _table_m(self) -> float:
        return self._walk.measured(("table",)).table.height_m

    @property
    def _home_pose(self) -> Array:
        return collect.home(self._twin.workspace)

    def _home(self) -> Array:
        """Bring the arm to its home pose from wherever it is, and return that target."""
        here = self._port.read().T_base_tcp
        go(self._port, here, self._home_pose, width_m=OPEN_M, pace=Pace())
        return self._home_pose

    def _condition(
        self,
        name: str,
        tcp_m: tuple[float, float, float],
        object_m: tuple[float, float],
        table: float,
    ) -> InitialCondition:
        half = self._half_m
        return InitialCondition(
            name=name,
            task=PUSH_TASK,
            objects=(
                ObjectPose(name="cube", position_m=(*object_m, table + half)),
                ObjectPose(name="goal", position_m=(0.66, 0.28, table)),
            ),
            tcp_position_m=tcp_m,
        )

    def _progress(self, what: str, done: int, total: int) -> None:
        self._say(f"{what}: {done} of {total}")
