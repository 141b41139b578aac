"""Colours and lights, by making the twin's own rendering look like real frames.

Every pixel whose place is known is compared: arm, table, objects, drawers, and the room behind. The
renderer is differentiated by rendering, and a robust least squares solves for everything at once. A
channel of a pixel depends on that channel of colours and lights alone, so that three columns come
from one rendering. Brighter lights on darker things look the same; the arm, whose colours the twin
knows, tells them apart. Where it is not in the picture, the lights stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rlco_datasets.initial_condition import InitialCondition

from rlco_calibration import estimate
from rlco_calibration.appearance import Burst, usable
from rlco_calibration.errors import CalibrationError
from rlco_calibration.parts import CameraModel
from rlco_calibration.results import Quantities, Quantity, value_at, with_value
from rlco_calibration.simulators import ARM_NAME, Look
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Looks = Callable[[Twin, str, InitialCondition], Look]
Pictures = dict[str, tuple[Array, Array, Array]]
"""By name: the real picture, the twin's before and the twin's now, `(H, W, 3)` counts each."""

TABLE, ROOM = "table", "room"
EDGE_PX = 3
"""Pixels inside a thing's outline that are left out: places are known to a few millimetres."""
MOST_PIXELS = 500
"""Of one thing in one picture; evenly chosen."""
LEAST_PIXELS, LEAST_ARM_PIXELS = 40, 300
BLOCKS = 6
"""Pictures are divided into so many by so many blocks, whose pixels may err together."""
ROUNDS = 6
STEP = 0.06
INLIER = 3.0 / 255
COLOUR_STD, LIGHT_STD, DIRECTION_STD = 0.3, 0.4, 0.4
"""How far colours and lights may be from the numbers before, where pictures tell nothing."""
LEAST_STD, LEAST_DIRECTION_STD = 0.006, 0.015
"""A rendering is rounded to whole counts, its derivatives too."""
TOLD = 0.3
"""A number counts as told by the pictures where they leave this share of those, or less."""
BRIGHTEST_LIGHT = 5.0


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """One field of the twin: a colour or a light (three channels), or where the light points."""

    path: str
    indices: tuple[int, ...]
    std: float
    high: float = 1.0
    low: float = 0.0
    channels: bool = True
    """Its number `i` shows in channel `i` alone."""
    least_std: float = LEAST_STD


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What was found, and each picture as it is, as the twin had it, and as it has it now."""

    quantities: Quantities
    pictures: Pictures


def fit(twin: Twin, bursts: Sequence[Burst], look: Looks) -> Appearance:
    """Return colours and lights with 95% intervals.

    Intervals are by leaving out blocks of the pictures in turn (jackknife): shading that the twin
    cannot show differs from place to place.

    Args:
        twin: cameras, table and objects as measured; where the colours start.
        bursts: pictures of places that are known.
        look: renders the twin.

    Raises:
        CalibrationError: if a picture is of another size than the camera's, or nothing in the
            pictures can be used.
    """
    for burst in bursts:
        camera = twin.camera(burst.seen.camera)
        if burst.frames[0].shape[:2] != (camera.height, camera.width):
            height, width = burst.frames[0].shape[:2]
            raise CalibrationError(
                f"{burst.name}: the frame is {width}x{height}, camera {camera.name!r} has "
                f"{camera.width}x{camera.height}. Keep full frames as it publishes them."
            )
    scene = _Scene(twin, bursts, look)
    unknowns = scene.unknowns()
    found, covariance = _solve(twin, scene, unknowns)
    quantities = _quantities(found, covariance, unknowns, len(bursts)) + scene.refused
    after = scene.frames(found)
    pictures = {
        burst.name: (burst.mean, one, other)
        for burst, one, other in zip(bursts, scene.frames(twin), after, strict=True)
    }
    real, before, now = (
        np.concatenate([pictures[b.name][i][scene.compared(b.name)] for b in bursts])
        for i in range(3)
    )
    note = (
        f"pixels compared differ by {np.median(np.abs(real - now)):.1f} counts (median), before: "
        f"{np.median(np.abs(real - before)):.1f}"
    )
    return Appearance(
        quantities=Quantities(quantities=tuple(quantities), notes=(note,)), pictures=pictures
    )


class _Scene:
    """Which pixels of the pictures are compared, and what the twin shows there."""

    def __init__(self, twin: Twin, bursts: Sequence[Burst], look: Looks) -> None:
        self._twin, self._bursts, self._look = twin, bursts, look
        self.refused: list[Quantity] = []
        self._pixels: list[dict[str, NDArray[np.intp]]] = []
        saturated: dict[str, int] = {}
        for burst in bursts:
            masks = _places(twin, look(twin, burst.seen.camera, burst.seen.start), burst)
            good = usable(burst.mean)
            mine = {}
            for name, mask in masks.items():
                saturated[name] = saturated.get(name, 0) + int((mask & ~good).sum())
                seen = np.flatnonzero(mask & good)
                if len(seen):
                    mine[name] = seen[:: max(len(seen) // MOST_PIXELS, 1)]
            self._pixels.append(mine)
        self._saturated = saturated

    def unknowns(self) -> list[Unknown]:
        """Return what the pictures may tell; what they show too little of is refused."""
        twin = self._twin
        found = []
        if self._count(ARM_NAME) >= LEAST_ARM_PIXELS:
            found += [
                _light("lighting.ambient"),
                _light("lighting.directional"),
                Unknown(
                    path="lighting.direction",
                    indices=(0, 1),
                    std=DIRECTION_STD,
                    low=-10.0,
                    high=10.0,
                    channels=False,
                    least_std=LEAST_DIRECTION_STD,
                ),
            ]
        else:
            self._refuse("lighting.ambient", ARM_NAME, value_at(twin, "lighting.ambient"))
            self._refuse("lighting.directional", ARM_NAME, value_at(twin, "lighting.directional"))
        for name in self._saturated:
            path = _colour_of(twin, name)
            if path is None:
                continue
            if self._count(name) >= LEAST_PIXELS:
                found.append(Unknown(path=path, indices=(0, 1, 2), std=COLOUR_STD))
            else:
                self._refuse(path, name, value_at(twin, path))
        if not found:
            raise CalibrationError(
                "nothing in the pictures can be used: is everything saturated, or out of sight?"
            )
        return found

    def _count(self, name: str) -> int:
        return sum(len(mine.get(name, ())) for mine in self._pixels)

    def _refuse(self, path: str, name: str, values: Sequence[float]) -> None:
        lost = self._saturated.get(name, 0)
        why = f"{lost} of its pixels are saturated or black" if lost else "it is not seen"
        self.refused += [
            Quantity(
                name=f"{path}[{index}]",
                value=float(value),
                std=0.0,
                low=0.0,
                high=0.0,
                source=f"the pictures cannot tell it: of {name!r} they show "
                f"{self._count(name)} usable pixels ({why})",
                identified=False,
            )
            for index, value in enumerate(values)
        ]

    def frames(self, twin: Twin) -> list[Array]:
        """Return what a twin shows in each picture, `(H, W, 3)` counts."""
        return [
            self._look(twin, burst.seen.camera, burst.seen.start).frame.astype(float)
            for burst in self._bursts
        ]

    def compared(self, name: str) -> Mask:
        """Return which pixels of a picture are compared, `(H, W)`."""
        index = [burst.name for burst in self._bursts].index(name)
        mask = np.zeros(self._bursts[index].frames[0].shape[:2], bool)
        for chosen in self._pixels[index].values():
            mask.ravel()[chosen] = True
        return mask

    def values(self, twin: Twin) -> Array:
        """Return what a twin shows at the compared pixels, `(N, 3)` in [0, 1]."""
        return self._at(self.frames(twin))

    def real(self) -> Array:
        """Return the real values there, `(N, 3)`."""
        return self._at([burst.mean for burst in self._bursts])

    def _at(self, frames: Sequence[Array]) -> Array:
        parts = [
            frame.reshape(-1, 3)[chosen]
            for frame, mine in zip(frames, self._pixels, strict=True)
            for chosen in mine.values()
        ]
        return np.concatenate(parts) / 255.0

    def blocks(self) -> NDArray[np.int_]:
        """Return which block of which picture each compared pixel is in, `(N,)`."""
        parts = []
        for index, (burst, mine) in enumerate(zip(self._bursts, self._pixels, strict=True)):
            height, width = burst.frames[0].shape[:2]
            for chosen in mine.values():
                v, u = np.divmod(chosen, width)
                row, column = v * BLOCKS // height, u * BLOCKS // width
                parts.append((index * BLOCKS + row) * BLOCKS + column)
        return np.concatenate(parts).astype(int)


def _light(path: str) -> Unknown:
    return Unknown(path=path, indices=(0, 1, 2), std=LIGHT_STD, high=BRIGHTEST_LIGHT)


def _colour_of(twin: Twin, name: str) -> str | None:
    if name == TABLE:
        return "table.colour"
    if name == ROOM:
        return "lighting.backdrop_colour"
    if name in {model.name for model in twin.objects}:
        return f"objects.{name}.colour"
    if name in {model.name for model in twin.drawers}:
        return f"drawers.{name}.colour"
    return None


def _places(twin: Twin, seen: Look, burst: Burst) -> dict[str, Mask]:
    """Return where the arm, the table, each thing and the room are, clear of their outlines."""
    camera = twin.camera(burst.seen.camera)
    above = np.any(np.stack(list(seen.masks.values())), axis=0)
    table = _on_table(twin, camera)
    places = {name: mask for name, mask in seen.masks.items() if not name.endswith("_handle")}
    places[TABLE] = table & ~above
    if twin.background(camera.name) is None:
        places[ROOM] = ~table & ~above
    kernel = np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)
    return {
        name: cv2.erode(mask.astype(np.uint8), kernel, borderValue=0).astype(bool)
        for name, mask in places.items()
    }


def _on_table(twin: Twin, camera: CameraModel) -> Mask:
    """Return which pixels `(H, W)` look at the table's top, whatever stands on it."""
    u, v = np.meshgrid(np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float))
    pixels = np.stack([u.ravel(), v.ravel()], axis=-1)[:, None]
    ideal = cv2.undistortPoints(pixels, camera.intrinsics, np.array(camera.distortion))[:, 0]
    pose = camera.T_base_camera
    way = np.concatenate([ideal, np.ones((len(ideal), 1))], axis=1) @ pose[:3, :3].T
    table = twin.table
    down = np.where(way[:, 2] < -1e-6, way[:, 2], -1e-6)
    point = pose[:2, 3] + (table.height_m - pose[2, 3]) / down[:, None] * way[:, :2]
    inside = np.abs(point - table.centre_xy_m) <= np.array(table.size_xy_m) / 2
    return np.asarray((inside.all(axis=1) & (way[:, 2] < -1e-6)).reshape(u.shape))


def _numbers(twin: Twin, unknowns: Sequence[Unknown]) -> Array:
    return np.array([value_at(twin, u.path)[i] for u in unknowns for i in u.indices], float)


def _with(twin: Twin, unknowns: Sequence[Unknown], x: Array) -> Twin:
    numbers = iter(x.tolist())
    for unknown in unknowns:
        for index in unknown.indices:
            twin = with_value(twin, f"{unknown.path}[{index}]", next(numbers))
    return twin


def _solve(twin: Twin, scene: _Scene, unknowns: Sequence[Unknown]) -> tuple[Twin, Array]:
    """Return the twin that looks like the pictures, and the covariance `(P, P)`."""
    real, start = scene.real(), _numbers(twin, unknowns)
    low, high, std, least = (
        np.array([getattr(u, field) for u in unknowns for _ in u.indices])
        for field in ("low", "high", "std", "least_std")
    )
    prior = np.diag(INLIER / std)
    x = start
    for _ in range(ROUNDS):
        shown = scene.values(_with(twin, unknowns, x))
        error = (shown - real).ravel()
        jacobian = _jacobian(twin, scene, unknowns, x, shown, high)
        weight = 1 / np.sqrt(1 + (error / INLIER) ** 2)
        rows = np.concatenate([np.sqrt(weight)[:, None] * jacobian, prior])
        errors = np.concatenate([np.sqrt(weight) * error, prior @ (x - start)])
        step = np.linalg.lstsq(rows, errors, rcond=None)[0]
        x = np.clip(x - step, low, high)
        if np.abs(step).max() < LEAST_STD / 4:
            break
    groups = np.concatenate([np.repeat(scene.blocks(), 3), np.full(len(x), -1)])
    others = estimate.without_each(errors, rows, groups)
    number = len(others)
    spread = others - others.mean(axis=0)
    covariance = (number - 1) / number * spread.T @ spread + np.diag(least**2)
    return _with(twin, unknowns, x), covariance


def _jacobian(
    twin: Twin,
    scene: _Scene,
    unknowns: Sequence[Unknown],
    x: Array,
    shown: Array,
    high: Array,
) -> Array:
    """Return `(3 N, P)`: how the compared values change with every number."""
    columns = []
    at = 0
    for unknown in unknowns:
        size = len(unknown.indices)
        mine = np.arange(at, at + size)
        steps = np.where(x[mine] + STEP <= high[mine], STEP, -STEP)
        if unknown.channels:
            moved = x.copy()
            moved[mine] += steps
            change = (scene.values(_with(twin, unknowns, moved)) - shown) / steps
            for channel in range(size):
                alone = np.zeros_like(change)
                alone[:, channel] = change[:, channel]
                columns.append(alone.ravel())
        else:
            for index, step in zip(mine, steps, strict=True):
                moved = x.copy()
                moved[index] += step
                change = scene.values(_with(twin, unknowns, moved)) - shown
                columns.append((change / step).ravel())
        at += size
    return np.stack(columns, axis=-1)


def _quantities(
    found: Twin, covariance: Array, unknowns: Sequence[Unknown], pictures: int
) -> list[Quantity]:
    quantities = []
    stds = iter(np.sqrt(np.diag(covariance)).tolist())
    for unknown in unknowns:
        for index in unknown.indices:
            value, std = float(value_at(found, unknown.path)[index]), next(stds)
            told = std <= TOLD * unknown.std
            source = f"the twin's rendering made like {pictures} pictures of a measured camera"
            quantities.append(
                Quantity(
                    name=f"{unknown.path}[{index}]",
                    value=value,
                    std=std,
                    low=value - 2 * std,
                    high=value + 2 * std,
                    source=source if told else f"the pictures cannot tell it (+-{2 * std:.2f})",
                    identified=told,
                )
            )
    return quantities
