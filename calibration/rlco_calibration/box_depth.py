"""A box on the table from a picture with depth: table, top face, and the rectangle around it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.errors import CalibrationError
from rlco_calibration.objects import Pixel, SizeEstimate, check_size
from rlco_calibration.scene_fit import SceneView

Array = NDArray[np.float64]

ABOVE_M = 0.008
"""What is less over the table than this is table."""
NEAR_M = 0.2
"""How far around the clicked point the table is looked at."""
LEAST_POINTS = 60
TRIM = 1.0
"""Percent of the top's points that may lie beyond each of its edges: flying pixels."""
MOST_TILT = 0.05
FACE_M = 0.004
"""Half the thickness of the layer that is taken as the top face, at least."""
EDGE_STD_PX = 0.5


@dataclass(frozen=True, kw_only=True)
class DepthBox:
    """A box as depth shows it: centre (x, y) m, yaw rad, edges (x, y, z) m and their std."""

    place: Array
    size_m: Array
    std_m: Array
    points: int


def box_in_depth(
    label: str, view: SceneView, depth_mm: NDArray[np.uint16], pixel: Pixel, yaw_rad: float
) -> DepthBox:
    """Return the box that stands on the table at a pixel.

    The table is fitted in the depth picture itself, so that depth's common error and the camera's
    tilt drop out of the height. The footprint is the rectangle around the top face.

    Args:
        label: of the capture, for messages.
        view: the camera; depth is aligned to its picture.
        depth_mm: `(H, W)`, 0 where unknown.
        pixel: one on the object.
        yaw_rad: roughly where the object's x axis points.

    Raises:
        CalibrationError: naming the capture, if there is no depth, no table or no box.
    """
    points, at = _cloud(label, view, depth_mm, pixel)
    near = points[np.linalg.norm(points[:, :2] - at[:2], axis=-1) < NEAR_M]
    plane, plane_std = _table(label, view, near)
    height = near[:, 2] - (near[:, :2] @ plane[:2] + plane[2])
    body = near[height > ABOVE_M]
    body_height = height[height > ABOVE_M]
    mine = _connected(body, at)
    body, body_height = body[mine], body_height[mine]
    if len(body) < LEAST_POINTS:
        raise CalibrationError(
            f"{label}: {len(body)} points of depth stand out of the table at pixel "
            f"({pixel[0]:.0f}, {pixel[1]:.0f}), at least {LEAST_POINTS} are needed. Move the "
            "camera nearer, or click the corners instead."
        )
    top, noise = _top(body_height)
    face = body[np.abs(body_height - top) < max(FACE_M, 3 * noise)]
    place, flat = _rectangle(face[:, :2], yaw_rad)
    distance = float(np.linalg.norm(at - view.T_base_camera[:3, 3]))
    edge_std = np.sqrt(2) * EDGE_STD_PX * distance / min(view.lens.fx, view.lens.fy)
    scale_std = float(view.shared_std[6] / view.lens.fx)
    size = np.array([*flat, top])
    check_size(label, size.tolist())
    top_std = np.sqrt(noise**2 / max(len(face) / 25, 1) + plane_std**2 + 0.0005**2)
    std = np.hypot([edge_std, edge_std, top_std], scale_std * size)
    return DepthBox(place=place, size_m=size, std_m=np.asarray(std), points=len(body))


def estimates(name: str, boxes: list[DepthBox]) -> list[SizeEstimate]:
    """Return the three edges of an object from its boxes; what they share does not average out."""
    found = []
    count = len(boxes)
    for axis in range(3):
        values = np.array([box.size_m[axis] for box in boxes])
        stated = float(np.mean([box.std_m[axis] for box in boxes]))
        seen = float(values.std(ddof=1)) if count > 1 else 0.0
        found.append(
            SizeEstimate(
                object=name,
                axis=axis,
                value_m=float(values.mean()),
                std_m=float(np.hypot(stated, seen / np.sqrt(count))),
                degrees=float(max(count - 1, 4)),
                source=f"{count} pictures with depth",
            )
        )
    return found


def _cloud(
    label: str, view: SceneView, depth_mm: NDArray[np.uint16], pixel: Pixel
) -> tuple[Array, Array]:
    """Return the points `(N, 3)` of a depth picture and the one at a pixel, base frame."""
    height, width = depth_mm.shape
    if (width, height) != view.lens.size:
        raise CalibrationError(
            f"{label}: depth is {width}x{height}, the camera {view.lens.size[0]}x"
            f"{view.lens.size[1]}. Record depth aligned to colour."
        )
    u, v = round(pixel[0]), round(pixel[1])
    if not (0 <= u < width and 0 <= v < height):
        raise CalibrationError(f"{label}: pixel {pixel} is outside the picture")
    around = depth_mm[max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3]
    if not (around > 0).any():
        raise CalibrationError(f"{label}: there is no depth at pixel {pixel}. Click beside it.")
    rows, columns = np.nonzero(depth_mm)
    pixels = np.column_stack([columns, rows]).astype(float)
    ahead = depth_mm[rows, columns] / 1000.0
    optical = view.T_base_camera[:3, 2]

    def place(where: Array, along: Array) -> Array:
        rays = view.rays(where)
        return np.asarray(view.T_base_camera[:3, 3] + rays * (along / (rays @ optical))[:, None])

    middle = np.array([np.median(around[around > 0]) / 1000.0])
    return place(pixels, ahead), place(np.array([[u, v]], float), middle)[0]


def _table(label: str, view: SceneView, near: Array) -> tuple[Array, float]:
    """Return the table (a, b, c) of z = a x + b y + c around the object, and its height's std."""
    low = near[np.abs(near[:, 2] - view.table_m) < 0.03]
    for allowed in (0.03, 0.01, 0.005):
        if len(low) < LEAST_POINTS:
            raise CalibrationError(
                f"{label}: depth shows no table within 30 mm of its measured height, "
                f"{view.table_m * 1000:.0f} mm. Is the depth in millimetres, and the camera where "
                "it was calibrated?"
            )
        design = np.column_stack([low[:, :2], np.ones(len(low))])
        plane = np.linalg.lstsq(design, low[:, 2], rcond=None)[0]
        residual = low[:, 2] - design @ plane
        off = near[:, 2] - (near[:, :2] @ plane[:2] + plane[2])
        low = near[np.abs(off) < allowed]
    if np.hypot(*plane[:2]) > MOST_TILT:
        raise CalibrationError(
            f"{label}: the table is {np.hypot(*plane[:2]) * 1000:.0f} mm/m off level in depth. "
            "Calibrate the camera again, or click the corners instead."
        )
    return np.asarray(plane, float), float(residual.std() / np.sqrt(max(len(low) / 25, 1)))


def _connected(body: Array, at: Array) -> NDArray[np.bool_]:
    """Return which points belong to the thing at a point: a flood over a 5 mm grid from above."""
    if len(body) == 0:
        return np.zeros(0, bool)
    cell = 0.005
    grid = np.floor(body[:, :2] / cell).astype(int)
    low = grid.min(axis=0) - 1
    picture = np.zeros(grid.max(axis=0) - low + 2, np.uint8)
    picture[tuple((grid - low).T)] = 1
    closed = cv2.morphologyEx(picture, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels = cv2.connectedComponents(closed, connectivity=8)
    mine = labels[tuple((grid - low).T)]
    nearest = int(np.argmin(np.linalg.norm(body[:, :2] - at[:2], axis=-1)))
    return np.asarray(mine == mine[nearest])


def _top(heights: Array) -> tuple[float, float]:
    """Return the height of the top face and the noise of its points: the fullest layer's."""
    high = float(np.percentile(heights, 98))
    layer = heights[heights > high - 2 * FACE_M]
    middle = float(np.median(layer))
    layer = heights[np.abs(heights - middle) < 1.5 * FACE_M]
    middle = float(np.median(layer))
    noise = float(1.4826 * np.median(np.abs(layer - middle)))
    return middle, max(noise, 1e-4)


def _rectangle(points: Array, yaw_rad: float) -> tuple[Array, Array]:
    """Return place (x, y, yaw) and edges of the smallest trimmed rectangle around points."""
    best = (np.inf, 0.0, np.zeros(2), np.zeros(2))
    for yaw in yaw_rad + np.radians(np.arange(-45.0, 45.0, 0.5)):
        c, s = np.cos(yaw), np.sin(yaw)
        turned = points @ np.array([[c, -s], [s, c]])
        low, high = np.percentile(turned, [TRIM, 100 - TRIM], axis=0)
        # the trimmed share of a filled rectangle lies within that share of its edge
        edges = (high - low) / (1 - 2 * TRIM / 100)
        area = float(np.prod(edges))
        if area < best[0]:
            middle = np.array([[c, -s], [s, c]]) @ ((low + high) / 2)
            best = (area, float(yaw), edges, middle)
    _, yaw, edges, middle = best
    return np.array([*middle, yaw]), edges
