"""Collect touches of the drawer, pictures of objects and marked positions from a bench."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.frames import pose_matrix
from rlco_datasets.initial_condition import InitialCondition, ObjectPose

from rlco_calibration import appearance
from rlco_calibration.clicking import Picture
from rlco_calibration.drawer import FINGER_HALF_DEPTH_M, DrawerTouches
from rlco_calibration.errors import CalibrationError
from rlco_calibration.excite_drawer import square_to
from rlco_calibration.initial_states import sample
from rlco_calibration.motion import Pace, go, press, touch
from rlco_calibration.objects import ObjectFolder
from rlco_calibration.parts import Drawer
from rlco_calibration.port import BenchPort
from rlco_calibration.results import vector3
from rlco_calibration.scene import TIP_M
from rlco_calibration.to_click import Pictures
from rlco_calibration.walk import Walk

Array = NDArray[np.float64]
Say = Callable[[str], None]

DRAWER_TASK, OBJECT_TASK = "open_drawer", "push_cube"
OBJECT = "cube"
OBJECT_PLACES_M = ((0.44, -0.1), (0.54, -0.06), (0.5, 0.06), (0.44, 0.12), (0.56, 0.1))
ASIDE_TCP_M = (0.36, 0.28, 0.4)
"""Where the arm is out of the camera's way."""
SEEN_TCP_M = ((0.36, 0.28, 0.4), (0.5, 0.0, 0.3), (0.45, -0.2, 0.3))
"""Where the arm stands in pictures of known places: here it throws light back, there shadow."""
BURST = 4
OPEN_M = 0.08
HANDLE_TOUCHES = 3
AWAY_M, OVER_M = 0.035, 0.07
"""How far before a face a press begins, and how far over the handle the fingers travel."""
AIM_STD_M = 0.0015
"""How well the middle of a handle is aimed at, along its bar."""
BELOW_TOP_M = 0.007
"""How far below the top of the front the TCP is when it touches there."""
LOW_M = 0.021
"""How far below it is at the sides: the hand's wider parts still pass over the front."""


class SceneGatherer:
    """Runs the parts of a calibration that are about objects and drawers."""

    def __init__(self, port: BenchPort, walk: Walk, say: Say) -> None:
        """Take the bench, and the walk whose folder is filled."""
        self._port, self._walk, self._say = port, walk, say
        self._twin = walk.measured(("table",))
        self.pictures = Pictures(walk.folder)

    def objects(self, camera: str) -> None:
        """Have the object put at several places, and take a picture of each to click in."""
        if len(ObjectFolder(self._walk.folder / "objects")) >= len(OBJECT_PLACES_M):
            return
        view = self._twin.camera(camera)
        for index, place_m in enumerate(OBJECT_PLACES_M):
            name = f"{OBJECT}_{index}"
            if self.pictures.taken(name):
                continue
            yaw = _edge_first(np.array(view.position_m[:2]) - place_m)
            self._port.lay_out(self._stood(f"object-{index}", place_m, yaw))
            _, frame = self._port.frame(camera)
            wanted = Picture(camera=camera, object=OBJECT, place_m=place_m, yaw_rad=yaw)
            self.pictures.add(name, wanted, frame)
            self._say(f"pictures of objects: {index + 1} of {len(OBJECT_PLACES_M)}")

    def appearance(self, camera: str) -> None:
        """Take frames of the bench with arm and objects at known places, for colours and lights."""
        for index, tcp_m in enumerate(SEEN_TCP_M):
            name = f"{OBJECT_TASK}_{index}"
            if (self._walk.folder / appearance.FOLDER / f"{name}.yaml").is_file():
                continue
            start = sample(self._twin, OBJECT_TASK, np.random.default_rng(index), name)
            start = replace(start, tcp_position_m=tcp_m)
            self._port.lay_out(start)
            frames = [self._port.frame(camera)[1]]
            here = self._port.read().T_base_tcp
            while len(frames) < BURST:
                self._port.command(here, OPEN_M)
                frames.append(self._port.frame(camera)[1])
            appearance.keep(
                self._walk.folder, name, appearance.Seen(camera=camera, start=start), frames
            )
            self._say(f"pictures of known places: {index + 1} of {len(SEEN_TCP_M)}")

    def marks(self, camera: str) -> None:
        """Take a picture of the table in which the marked start positions are to be clicked."""
        name = f"marks_{OBJECT_TASK}"
        marked = self._walk.folder / "marks" / f"{OBJECT_TASK}.yaml"
        if marked.is_file() or self.pictures.taken(name):
            return
        self._port.lay_out(self._stood("marks", OBJECT_PLACES_M[0], 0.0))
        _, frame = self._port.frame(camera)
        yaws = next(
            item.yaw_rad for item in self._twin.task(OBJECT_TASK).placements if item.name == OBJECT
        )
        wanted = Picture(camera=camera, object=OBJECT, task=OBJECT_TASK, yaws_rad=yaws)
        self.pictures.add(name, wanted, frame)
        self._say(f"picture of the marked positions of {OBJECT_TASK}")

    def drawer(self, home: Array) -> None:
        """Touch the drawer: handle closed and open, front, and the bar's top.

        The cabinet stays where it stands; the twin to start from says roughly where that is.

        Raises:
            CalibrationError: if something is not met where it should be.
        """
        if not self._twin.drawers:
            return
        model = self._twin.drawers[0]
        path = self._walk.folder / "drawers" / f"{model.name}.yaml"
        if path.is_file():
            return
        touches = _DrawerTouching(self._port, model, self._twin.table.height_m, self._closed, home)
        spec.save(touches.all(self._say), path)

    def _closed(self) -> None:
        """Have the drawer closed, and the arm brought to the task's start."""
        rng = np.random.default_rng(0)
        start = sample(self._twin, DRAWER_TASK, rng, "drawer-closed")
        name = self._twin.drawers[0].name
        others = tuple(item for item in start.objects if item.name != name)
        self._port.lay_out(replace(start, objects=others, drawer_open=0.0))

    def _stood(self, name: str, place_m: tuple[float, float], yaw: float) -> InitialCondition:
        start = sample(self._twin, OBJECT_TASK, np.random.default_rng(0), name)
        half = self._twin.object_model(OBJECT).size_m[2] / 2
        stood = ObjectPose(
            name=OBJECT,
            position_m=(*place_m, self._twin.table.height_m + half),
            quaternion_wxyz=(float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))),
        )
        objects = tuple(stood if item.name == OBJECT else item for item in start.objects)
        return replace(start, objects=objects, tcp_position_m=ASIDE_TCP_M)


def _edge_first(towards: Array) -> float:
    """Return the yaw within 45 degrees at which a box's upright edge faces a direction `(2,)`."""
    bearing = float(np.arctan2(towards[1], towards[0])) + np.pi / 4
    return float((bearing + np.pi / 4) % (np.pi / 2) - np.pi / 4)


class _DrawerTouching:
    """Touches one drawer with the closed fingers, square to its front."""

    def __init__(
        self,
        port: BenchPort,
        model: Drawer,
        table_m: float,
        close: Callable[[], None],
        home: Array,
    ) -> None:
        self._port, self._model, self._close, self._home = port, model, close, home
        self._floor = np.array([*model.position_m[:2], table_m])
        c, s = np.cos(model.yaw_rad), np.sin(model.yaw_rad)
        self._axes = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self._rotation = square_to(model.yaw_rad)
        self._rng = np.random.default_rng(0)
        self._target = home
        self._reach = FINGER_HALF_DEPTH_M + model.handle_size_m[2] / 2

    def all(self, say: Say) -> DrawerTouches:
        """Return all touches."""
        bar = self._model.T_cabinet_handle[:3, 3]
        closed, opened = [], []
        for index in range(HANDLE_TOUCHES):
            self._begin()
            aside = self._aim()
            before = bar + np.array([-self._reach - AWAY_M, aside, 0.0])
            at = self._press(before, np.array([1.0, 0.0, 0.0]), 2 * AWAY_M)
            closed.append(vector3(at))
            middle = self._inside(at) + np.array([self._reach, 0.0, 0.0])
            gap = (self._model.handle_size_m[0] - self._model.handle_size_m[2]) / 2
            hooked = middle + np.array([self._model.handle_size_m[2] / 2 + gap, 0.0, 0.0])
            way = self._model.travel_m + gap + 0.06
            opened.append(vector3(self._press(hooked, np.array([-1.0, 0.0, 0.0]), way)))
            say(f"drawer, handle closed and open: {index + 1} of {HANDLE_TOUCHES}")
        self._begin()
        front = [vector3(self._front(*place)) for place in self._front_places()]
        top = [vector3(self._top(bar, aside)) for aside in (-0.02, 0.02)]
        say(f"drawer, front and bar: {len(front)} + {len(top)} touches")
        go(self._port, self._target, self._home, width_m=0.0, pace=Pace())
        return DrawerTouches(
            name=self._model.name,
            closed_m=tuple(closed),
            opened_m=tuple(opened),
            front_m=tuple(front),
            top_m=tuple(top),
            closed_side="outside",
            opened_side="inside",
        )

    def _aim(self) -> float:
        """Return where along the bar its middle is aimed at: as seen, where something sees it."""
        seen = self._port.objects().get(self._model.handle_name)
        middle = 0.0 if seen is None else float(self._inside(seen[:3, 3])[1])
        return middle + float(self._rng.normal(0, AIM_STD_M))

    def _front_places(self) -> list[tuple[float, float]]:
        """Return where to touch the front, (aside, up) in the cabinet's frame, clear of the bar."""
        _, width, height = self._model.size_m
        handle = self._model.handle_size_m[1]
        edge = (handle / 2 + width / 2 + 0.015) / 2
        high, low = height - BELOW_TOP_M, height - LOW_M
        bar_top = self._model.handle_height_m + self._model.handle_size_m[2] / 2
        if high - TIP_M < bar_top or edge - 0.015 < handle / 2 - 0.003:
            raise CalibrationError(
                f"drawer {self._model.name!r}: there is no room beside its handle for the fingers. "
                "Touch its front by hand, or measure with a ruler."
            )
        return [(-edge, high), (0.0, high), (edge, high), (edge, low), (-edge, low)]

    def _front(self, aside: float, up: float) -> Array:
        face = -self._model.size_m[0] / 2 - FINGER_HALF_DEPTH_M
        before = np.array([face - AWAY_M, aside, up])
        return self._press(before, np.array([1.0, 0.0, 0.0]), 2 * AWAY_M)

    def _top(self, bar: Array, aside: float) -> Array:
        over = self._base(bar + np.array([0.0, aside, 0.0]))
        height, self._target = touch(
            self._port,
            float(over[0]),
            float(over[1]),
            start=self._target,
            above_m=float(over[2]) + OVER_M,
            deepest_m=float(over[2]) - 0.02,
            rotation=self._rotation,
        )
        return np.array([over[0], over[1], height])

    def _begin(self) -> None:
        self._close()
        self._target = self._port.read().T_base_tcp
        over = pose_matrix(self._over(self._model.T_cabinet_handle[:3, 3]), self._rotation)
        go(self._port, self._target, over, width_m=0.0, pace=Pace())
        self._target = over

    def _press(self, start: Array, direction: Array, furthest_m: float) -> Array:
        """Go over `start` (cabinet's frame), down to it, press, back off and up; return where."""
        pace = Pace()
        over = pose_matrix(self._over(start), self._rotation)
        down = pose_matrix(self._base(start), self._rotation)
        for pose in (over, down):
            go(self._port, self._target, pose, width_m=0.0, pace=pace)
            self._target = pose
        way = self._axes @ direction
        at, self._target = press(self._port, down, way, furthest_m=furthest_m)
        back = self._target.copy()
        back[:3, 3] = at - 0.006 * way
        up = back.copy()
        up[2, 3] = over[2, 3]
        for pose in (back, up):
            go(self._port, self._target, pose, width_m=0.0, pace=pace)
            self._target = pose
        return at

    def _over(self, point: Array) -> Array:
        """Return a point over the handle (base frame), at `point` of the cabinet's frame."""
        found = self._base(point)
        found[2] = self._floor[2] + self._model.size_m[2] + OVER_M
        return found

    def _base(self, point: Array) -> Array:
        return np.asarray(self._floor + self._axes @ point)

    def _inside(self, point: Array) -> Array:
        return np.asarray(self._axes.T @ (point - self._floor))
