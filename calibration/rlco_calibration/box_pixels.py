"""A box on the table from clicks at its corners, or its height from a marker on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.board import DICTIONARIES
from rlco_calibration.errors import CalibrationError
from rlco_calibration.objects import AXES, Clicks, SizeEstimate, Tag, check_size
from rlco_calibration.scene_fit import SceneFit, SceneView, fit

Array = NDArray[np.float64]

CLICK_STD_PX = 0.5
"""Of one coordinate of a click in an enlarged picture; clicks that fit worse count as worse."""
CORNER_STD_PX = 0.15
"""Of one coordinate of a marker's corner, refined."""
WORST_CLICK_PX = 6.0
WORST_CORNER_PX = 2.0
SIDE_SAMPLES, SIDE_REACH_PX = 16, 2
SQUARE_DEG = 25.0
ROUGH_DEG = 40.0


@dataclass(frozen=True, kw_only=True)
class BoxStart:
    """A first idea of a box: centre (x, y), yaw and edges (x, y, z), and its clicked corners.

    `corners` `(N, 3)`: signs of the clicked corners along the box's axes; z is 0 on the table,
    1 on top.
    """

    place: Array
    size_m: Array
    corners: Array


def box_sizes(
    name: str, captures: Mapping[str, tuple[SceneView, Clicks, float]]
) -> tuple[list[SizeEstimate], dict[str, SceneFit]]:
    """Return the three edges of a box by all clicks together, and the fit of each capture alone.

    Args:
        name: of the object.
        captures: by name: view, clicks, and rough yaw (rad).

    Raises:
        CalibrationError: naming the capture whose clicks do not make a box.
    """
    starts = {label: _start(label, *item) for label, item in captures.items()}
    single = {
        label: _fit({label: captures[label]}, {label: start}) for label, start in starts.items()
    }
    for label, found in single.items():
        worst = np.linalg.norm(found.errors_px, axis=-1)
        if worst.max() > WORST_CLICK_PX:
            which = int(np.argmax(worst))
            where = f"click {which + 1} on the table" if which < 3 else f"click {which - 2} on top"
            raise CalibrationError(
                f"{label}: {where} is {worst[which]:.1f} px from the corner of the box that fits "
                "best. Click again, corners from left to right."
            )
        check_size(label, found.x[:3].tolist())
    together = _fit(captures, starts)
    source = f"{len(captures)} pictures, corners clicked, {together.rms_px:.1f} px rms"
    return [
        SizeEstimate(
            object=name,
            axis=axis,
            value_m=float(together.x[axis]),
            std_m=float(together.std[axis]),
            degrees=together.degrees,
            source=source,
        )
        for axis in range(3)
    ], single


def box_corners(place: Array, size_m: Array, corners: Array, table_m: float) -> Array:
    """Return the corners `(N, 3)` in the base frame of a box at (x, y, yaw)."""
    c, s = np.cos(place[2]), np.sin(place[2])
    flat = corners[:, :2] * size_m[:2] / 2 @ np.array([[c, s], [-s, c]])
    return np.column_stack([flat + place[:2], table_m + corners[:, 2] * size_m[2]])


def _fit(
    captures: Mapping[str, tuple[SceneView, Clicks, float]], starts: Mapping[str, BoxStart]
) -> SceneFit:
    pixels = {
        label: np.array([*clicks.table, *clicks.top]) for label, (_, clicks, _) in captures.items()
    }

    def errors(x: Array, shared: Array) -> Array:
        found = []
        for index, (label, (view, _, _)) in enumerate(captures.items()):
            place = x[3 + 3 * index : 6 + 3 * index]
            points = box_corners(place, x[:3], starts[label].corners, view.table_m)
            found.append(view.pixels(points, shared) - pixels[label])
        return np.concatenate(found)

    size = np.mean([start.size_m for start in starts.values()], axis=0)
    start = np.concatenate([size, *(item.place for item in starts.values())])
    shared_std = next(iter(captures.values()))[0].shared_std
    return fit(errors, start, shared_std, pixel_std=CLICK_STD_PX)


def _start(label: str, view: SceneView, clicks: Clicks, yaw_rad: float) -> BoxStart:
    """Return the box that three clicks on the table and one on top roughly say."""
    left, near, right = view.on_plane(np.array(clicks.table), view.table_m)[:, :2]
    one, other = left - near, right - near
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if min(lengths) < 1e-3:
        raise CalibrationError(f"{label}: two clicks on the table are at one place. Click again.")
    corner = np.degrees(np.arccos(np.clip(one @ other / (lengths[0] * lengths[1]), -1, 1)))
    if abs(corner - 90) > SQUARE_DEG:
        raise CalibrationError(
            f"{label}: the three clicks on the table make a corner of {corner:.0f} deg, not 90. "
            "Click the corners that stand on the table, from left to right."
        )
    off = [_turned(np.arctan2(edge[1], edge[0]), yaw_rad) for edge in (one, other)]
    along = int(np.argmin(np.abs(off)))
    if np.degrees(abs(off[along])) > ROUGH_DEG:
        raise CalibrationError(
            f"{label}: neither edge is within {ROUGH_DEG:.0f} deg of yaw "
            f"{np.degrees(yaw_rad):.0f} deg, where the object's x axis was said to point"
        )
    yaw = yaw_rad + off[along]
    size = (lengths[0], lengths[1]) if along == 0 else (lengths[1], lengths[0])
    centre = (left + right) / 2
    c, s = np.cos(yaw), np.sin(yaw)
    inwards = np.array([[c, -s], [s, c]])
    signs = np.array([np.sign((point - centre) @ inwards) for point in (left, near, right)])
    if (signs[0] != -signs[2]).any() or (signs == 0).any():
        raise CalibrationError(f"{label}: the clicks on the table do not make a box. Click again.")
    corners = [[*sign, 0.0] for sign in signs] + [[*sign, 1.0] for sign in signs]
    if len(clicks.top) == 4:
        corners.append([*(-signs[1]), 1.0])
    height = _height_over(view, np.array(clicks.top[1]), near)
    return BoxStart(
        place=np.array([*centre, yaw]),
        size_m=np.array([*size, max(height, 0.005)]),
        corners=np.array(corners),
    )


def _turned(direction: float, yaw_rad: float) -> float:
    """Return the smallest turn from a yaw to an undirected line."""
    return float((direction - yaw_rad + np.pi / 2) % np.pi - np.pi / 2)


def _height_over(view: SceneView, pixel: Array, xy_m: Array) -> float:
    """Return how high over a point of the table a pixel's ray passes it."""
    ray, eye = view.rays(pixel[None])[0], view.T_base_camera[:3, 3]
    distance = float((xy_m - eye[:2]) @ ray[:2] / (ray[:2] @ ray[:2]))
    return float(eye[2] + distance * ray[2] - view.table_m)


def tag_corners(frame: NDArray[np.uint8], tag: Tag) -> Array | None:
    """Return the corners `(4, 2)` px of a marker in a frame, or None if it is not seen."""
    kind = cv2.aruco.getPredefinedDictionary(DICTIONARIES[tag.dictionary])
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    corners, numbers, _ = cv2.aruco.ArucoDetector(kind).detectMarkers(grey)
    for corner, number in zip(corners, () if numbers is None else np.ravel(numbers), strict=True):
        if int(number) == tag.number:
            return refined_corners(grey, np.asarray(corner, float).reshape(4, 2))
    return None


def refined_corners(grey: NDArray[np.uint8], corners: Array) -> Array:
    """Return a marker's corners `(4, 2)` px as the crossings of its sides.

    OpenCV's own refinement looks at a window that reaches into the marker's cells, and is off by
    tenths of a pixel on small markers. Here each side is a line through where the brightness
    crosses the middle between black rim and white paper.
    """
    lines = []
    along = np.linspace(0.15, 0.85, SIDE_SAMPLES)
    across = np.linspace(-SIDE_REACH_PX, SIDE_REACH_PX, 8 * SIDE_REACH_PX + 1)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        side = (end - start) / np.linalg.norm(end - start)
        outward = np.array([side[1], -side[0]])
        outward *= np.sign(outward @ ((start + end) / 2 - corners.mean(axis=0)))
        middle = start + along[:, None] * (end - start)
        at = (middle[:, None] + across[None, :, None] * outward).astype(np.float32)
        profile = cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(float)
        level = (profile[:, :3].mean() + profile[:, -3:].mean()) / 2
        first = np.argmax(profile > level, axis=1)
        rows = np.flatnonzero(first > 0)
        if len(rows) < SIDE_SAMPLES // 2:
            return corners
        high, low = profile[rows, first[rows]], profile[rows, first[rows] - 1]
        step = across[1] - across[0]
        offset = across[first[rows]] - step * (high - level) / (high - low)
        points = middle[rows] + offset[:, None] * outward
        centre = points.mean(axis=0)
        normal = np.linalg.svd(points - centre)[2][1]
        lines.append([*normal, -normal @ centre])
    crossings = [np.cross(lines[i - 1], lines[i]) for i in range(4)]
    return np.array([crossing[:2] / crossing[2] for crossing in crossings])


def tag_height(
    name: str, captures: Mapping[str, tuple[SceneView, Tag, Array]]
) -> list[SizeEstimate]:
    """Return the edges that markers on top of an object tell: how high they are over the table.

    Args:
        name: of the object.
        captures: by name: view, marker, and its corners `(4, 2)` px as OpenCV orders them.

    Raises:
        CalibrationError: naming the capture whose marker does not lie level, or has another size.
    """
    found = []
    for axis_index, axis in enumerate(AXES):
        mine = {label: item for label, item in captures.items() if item[1].up == axis}
        if not mine:
            continue
        for label, item in mine.items():
            worst = float(np.linalg.norm(_fit_tags({label: item}).errors_px, axis=-1).max())
            if worst > WORST_CORNER_PX:
                raise CalibrationError(
                    f"{label}: marker {item[1].number} does not lie level with an edge of "
                    f"{item[1].edge_m * 1000:.1f} mm ({worst:.1f} px off). Measure its black "
                    "square, and stick it flat on the face that is up."
                )
        together = _fit_tags(mine)
        check_size(next(iter(mine)), [float(together.x[0])])
        found.append(
            SizeEstimate(
                object=name,
                axis=axis_index,
                value_m=float(together.x[0]),
                std_m=float(together.std[0]),
                degrees=together.degrees,
                source=f"{len(mine)} pictures of a marker on it, {together.rms_px:.2f} px rms",
            )
        )
    return found


def _fit_tags(captures: Mapping[str, tuple[SceneView, Tag, Array]]) -> SceneFit:
    square = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    starts = []
    for view, tag, corners in captures.values():
        flat = view.on_plane(corners, view.table_m)[:, :2]
        edge = flat[1] - flat[0]
        # seen from the eye, what is higher looks larger: similar triangles give the height
        share = float(np.mean(np.linalg.norm(flat - np.roll(flat, 1, axis=0), axis=-1)))
        above = max((1 - tag.edge_m / share) * (view.T_base_camera[2, 3] - view.table_m), 0.0)
        middle = view.on_plane(corners, view.table_m + above)[:, :2].mean(axis=0)
        starts.append([above, *middle, float(np.arctan2(edge[1], edge[0]))])

    def errors(x: Array, shared: Array) -> Array:
        found = []
        for index, (view, tag, corners) in enumerate(captures.values()):
            place = x[1 + 3 * index : 4 + 3 * index]
            flat = np.column_stack([square, np.ones(4)])
            size = np.array([tag.edge_m, tag.edge_m, x[0]])
            points = box_corners(place, size, flat, view.table_m)
            found.append(view.pixels(points, shared) - corners)
        return np.concatenate(found)

    start = [float(np.mean([item[0] for item in starts]))]
    start += [value for item in starts for value in item[1:]]
    shared_std = next(iter(captures.values()))[0].shared_std
    return fit(errors, np.array(start), shared_std, pixel_std=CORNER_STD_PX)
