"""The steps about the scene: from what a folder holds to numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec

from rlco_calibration import appearance as pictures_of
from rlco_calibration import (
    appearance_fit,
    box_depth,
    box_pixels,
    drawer,
    marked_states,
    scene_pictures,
)
from rlco_calibration.box_depth import DepthBox
from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import interval
from rlco_calibration.initial_states import stood
from rlco_calibration.marked_states import Marks, MeasuredStates
from rlco_calibration.objects import (
    ObjectCapture,
    ObjectFolder,
    Pixel,
    SizeEstimate,
    Tag,
    combined,
)
from rlco_calibration.parts import Drawer
from rlco_calibration.recording import Recording
from rlco_calibration.results import CameraResult, Quantities, Quantity, with_quantities
from rlco_calibration.scene_fit import SceneView
from rlco_calibration.simulators import TwinSimulator
from rlco_calibration.twin import Twin, TwinError

Array = NDArray[np.float64]
Say = Callable[[str], None]
View = TypeVar("View")
Found = TypeVar("Found")


def scene_view(folder: Path, camera: str, twin: Twin) -> SceneView:
    """Return a camera as measured in this folder, over the table of the twin.

    Raises:
        CalibrationError: if the camera or the table were not measured, or the camera is on the
            hand.
    """
    path = folder / "results" / f"camera_{camera}.yaml"
    if not path.is_file():
        raise CalibrationError(
            f"camera {camera!r} is not measured yet: do the step `cameras` first"
        )
    found = spec.load(CameraResult, path)
    if found.setup != "eye_to_hand":
        raise CalibrationError(
            f"camera {camera!r} moves with the hand: use a picture of a fixed camera"
        )
    shared = [*found.position_std_m, *found.rotation_std_rad, *found.lens_std[:4], table_std(twin)]
    return SceneView(
        lens=found.lens,
        T_base_camera=found.pose,
        table_m=twin.table.height_m,
        shared_std=np.array(shared),
    )


def table_std(twin: Twin) -> float:
    """Return the standard uncertainty of the table's height.

    Raises:
        CalibrationError: if the twin does not state it.
    """
    for item in twin.provenance:
        if item.name == "table.height_m" and item.std:
            return item.std[0]
    raise CalibrationError(
        "how well the table's height is known is not stated: do the step `table` first"
    )


def objects(folder: Path, twin: Twin, say: Say) -> Quantities:
    """Return the sizes of all boxes that there are captures of, and draw them.

    A capture that cannot be used is named and left out; nothing is deleted.

    Raises:
        CalibrationError: if there are no captures, or none of an object's can be used.
    """
    captures = ObjectFolder(folder / "objects")
    if not len(captures):
        raise CalibrationError(f"{captures.path}: no captures of objects yet. Collect them first.")
    by_object: dict[str, dict[str, ObjectCapture]] = {}
    for name in captures.names:
        capture = captures.capture(name)
        by_object.setdefault(capture.object, {})[name] = capture
    marked: dict[str, list[Array]] = {}
    estimates: list[SizeEstimate] = []
    for name, mine in by_object.items():
        _require_box(twin, name)
        found = _by_clicks(folder, twin, name, mine, say, marked)
        found += _by_tag(folder, twin, captures, name, mine, say)
        found += _by_depth(folder, twin, captures, name, mine, say)
        if not found:
            raise CalibrationError(
                f"{captures.path}: none of {', '.join(mine)} tells the size of {name!r}"
            )
        estimates += found
    sizes, notes = combined(estimates)
    frames = {name: captures.frame(name) for name in (*marked, *captures.names)[:3]}
    scene_pictures.objects(frames, marked, sizes, folder / "pictures" / "objects.png")
    return Quantities(quantities=tuple(_quantity(item) for item in sizes), notes=tuple(notes))


def _require_box(twin: Twin, name: str) -> None:
    try:
        model = twin.object_model(name)
    except TwinError as error:
        raise CalibrationError(str(error)) from error
    if model.kind != "box":
        raise CalibrationError(
            f"object {name!r} is a {model.kind}: pictures measure boxes. Measure it by hand, in "
            "ruler.yaml."
        )


def _quantity(item: SizeEstimate) -> Quantity:
    low, high = interval(item.value_m, item.std_m, item.degrees)
    return Quantity(
        name=f"objects.{item.object}.size_m[{item.axis}]",
        value=item.value_m,
        std=item.std_m,
        low=low,
        high=high,
        source=item.source,
    )


def _by_clicks(
    folder: Path,
    twin: Twin,
    name: str,
    captures: Mapping[str, ObjectCapture],
    say: Say,
    marked: dict[str, list[Array]],
) -> list[SizeEstimate]:
    views = {
        label: (scene_view(folder, capture.camera, twin), capture.clicks, capture.yaw_rad)
        for label, capture in captures.items()
        if capture.clicks is not None
    }
    alone = _each_alone(views, partial(box_pixels.box_sizes, name), say)
    for label, (_, fits) in alone.items():
        clicks = views[label][1]
        given = np.array([*clicks.table, *clicks.top])
        marked[label] = [given, given + fits[label].errors_px]
    usable = {label: views[label] for label in alone}
    return box_pixels.box_sizes(name, usable)[0] if usable else []


def _by_tag(
    folder: Path,
    twin: Twin,
    frames: ObjectFolder,
    name: str,
    captures: Mapping[str, ObjectCapture],
    say: Say,
) -> list[SizeEstimate]:
    views: dict[str, tuple[SceneView, Tag, Array]] = {}
    for label, capture in captures.items():
        if capture.tag is None:
            continue
        corners = box_pixels.tag_corners(frames.frame(label), capture.tag)
        if corners is None:
            say(
                f"left out: {label}: marker {capture.tag.number} of {capture.tag.dictionary} is "
                "not seen. Is it whole in the frame, with a white rim?"
            )
            continue
        views[label] = (scene_view(folder, capture.camera, twin), capture.tag, corners)
    alone = _each_alone(views, partial(box_pixels.tag_height, name), say)
    usable = {label: views[label] for label in alone}
    return box_pixels.tag_height(name, usable) if usable else []


def _by_depth(
    folder: Path,
    twin: Twin,
    frames: ObjectFolder,
    name: str,
    captures: Mapping[str, ObjectCapture],
    say: Say,
) -> list[SizeEstimate]:
    views = {
        label: (
            scene_view(folder, capture.camera, twin),
            frames.depth_mm(label),
            capture.depth.pixel,
            capture.yaw_rad,
        )
        for label, capture in captures.items()
        if capture.depth is not None
    }

    def measure(one: dict[str, tuple[SceneView, NDArray[np.uint16], Pixel, float]]) -> DepthBox:
        ((label, view),) = one.items()
        return box_depth.box_in_depth(label, *view)

    boxes = _each_alone(views, measure, say)
    return box_depth.estimates(name, list(boxes.values())) if boxes else []


def _each_alone(
    views: Mapping[str, View], measure: Callable[[dict[str, View]], Found], say: Say
) -> dict[str, Found]:
    """Measure each picture by itself; one that cannot be used is named and left out."""
    found: dict[str, Found] = {}
    for label, view in views.items():
        try:
            found[label] = measure({label: view})
        except CalibrationError as error:
            say(f"left out: {error}")
    return found


def drawers(folder: Path, twin: Twin) -> Quantities:
    """Return what the touches of all drawers say, and draw them.

    Raises:
        CalibrationError: naming the file whose touches cannot be used.
    """
    paths = sorted((folder / "drawers").glob("*.yaml"))
    if not paths:
        raise CalibrationError(
            f"{folder / 'drawers'}: no touches of a drawer yet. Collect them first."
        )
    found: list[Quantity] = []
    for path in paths:
        touches = spec.load(drawer.DrawerTouches, path)
        try:
            model = twin.drawer(touches.name)
            measured = drawer.measure(touches, model, twin.table, table_std(twin))
            with_quantities(twin, measured.measured)
        except (CalibrationError, TwinError) as error:
            raise CalibrationError(f"{path}: {error}") from error
        scene_pictures.drawer(touches, measured, folder / "pictures" / f"drawer_{touches.name}.png")
        found += measured.measured.quantities
    return Quantities(quantities=tuple(found))


def pushed_drawer(twin: Twin, recording: Recording) -> Drawer:
    """Return the drawer whose handle was tracked in a recording.

    Raises:
        CalibrationError: if there is none.
    """
    for model in twin.drawers:
        if model.handle_name in recording.track.objects:
            return model
    raise CalibrationError(
        f"{recording.initial.name}: no handle of a drawer of the twin was tracked, only "
        f"{sorted(recording.track.objects)}"
    )


def appearance(
    folder: Path, twin: Twin, simulator: TwinSimulator
) -> tuple[Quantities, appearance_fit.Pictures]:
    """Return colours, lights and the noise of cameras, and pictures before and after.

    Raises:
        CalibrationError: if there are no pictures, or naming one that cannot be used.
    """
    bursts = pictures_of.load(folder)
    by_camera: dict[str, list[pictures_of.Burst]] = {}
    for burst in bursts:
        scene_view(folder, burst.seen.camera, twin)
        by_camera.setdefault(burst.seen.camera, []).append(burst)
    stated = [replace(b, seen=replace(b.seen, start=stood(twin, b.seen.start))) for b in bursts]
    found = appearance_fit.fit(twin, stated, simulator.look)
    noises = [pictures_of.noise(camera, mine) for camera, mine in by_camera.items()]
    quantities = (*found.quantities.quantities, *(item for item in noises if item is not None))
    return Quantities(quantities=quantities, notes=found.quantities.notes), found.pictures


def tasks(folder: Path, twin: Twin) -> MeasuredStates:
    """Return the initial states of all tasks with marks, and draw them from above.

    Raises:
        CalibrationError: naming the file whose marks cannot be used.
    """
    paths = sorted((folder / "marks").glob("*.yaml"))
    if not paths:
        raise CalibrationError(f"{folder / 'marks'}: no marked positions yet. Collect them first.")
    states, sources, places, marked = [], {}, {}, {}
    for path in paths:
        marks = spec.load(Marks, path)

        def on_table(pixels: Array, camera: str = marks.camera) -> Array:
            view = scene_view(folder, camera, twin)
            return view.on_plane(pixels, twin.table.height_m)

        try:
            at = marked_states.positions(marks, on_table)
            new = marked_states.fitted(marks, at, twin)
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}") from error
        states.append(new)
        marked[new.name] = tuple(dict.fromkeys(mark.object for mark in marks.marks))
        for name in marked[new.name]:
            mine = [index for index, mark in enumerate(marks.marks) if mark.object == name]
            places[f"{new.name}/{name}"] = at[mine]
        sources[new.name] = _source(marks)
    scene_pictures.marks(
        places,
        {item.name: item.placements for item in states},
        twin.workspace,
        folder / "pictures" / "tasks.png",
    )
    return MeasuredStates(states=tuple(states), sources=sources, marked=marked)


def _source(marks: Marks) -> str:
    clicked = sum(mark.pixel is not None for mark in marks.marks)
    how = {0: "touched", len(marks.marks): "clicked"}.get(clicked, f"{clicked} of them clicked")
    return (
        f"{len(marks.marks)} marked positions, {how}; margin {marks.margin_m * 1000:.0f} mm, "
        f"{np.degrees(marks.margin_rad):.0f} deg"
    )
