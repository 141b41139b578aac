"""Pictures of a scene: light meshes in a SAPIEN render scene of its own, posed from the physics.

One renderer serves every scene of a batch: poses go in, pictures come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import sapien
import sapien.render
from numpy.typing import NDArray
from rlco_calibration.parts import CameraModel, Drawer, ObjectModel
from rlco_calibration.twin import Twin
from rlco_datasets.frames import pose_matrix

from rlco_trainer.twin import cabinet, robot, shapes
from rlco_trainer.twin.physics import TABLE_THICKNESS_M, sapien_pose
from rlco_trainer.twin.shaders import use_shaders

UInt8Image = NDArray[np.uint8]

NEAR_M, FAR_M = 0.02, 10.0
ROOM_HALF_M = 2.0
FLOOR_BELOW_TABLE_M = 0.75
NOTHING = 0
"""The number of no entity in a segmentation."""
WHITE, GREY, DARK = (0.86, 0.87, 0.88), (0.55, 0.56, 0.58), (0.10, 0.10, 0.11)
LINK_COLOURS = {
    "panda_link0": GREY,
    "panda_link3": WHITE,
    "panda_link6": WHITE,
    "panda_link7": GREY,
    "panda_hand": WHITE,
    "panda_leftfinger": DARK,
    "panda_rightfinger": DARK,
}
OPTICAL_TO_SAPIEN = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Columns: SAPIEN's camera axes (x forward, y left, z up) in the OpenCV optical frame."""


class Renderer:
    """Draws the bench of a twin with the objects and drawers of one task."""

    def __init__(
        self, twin: Twin, objects: tuple[ObjectModel, ...], drawers: tuple[Drawer, ...]
    ) -> None:
        """Load meshes, lights and backdrop."""
        self._scene = sapien.Scene([sapien.render.RenderSystem(sapien.Device("cpu"))])
        self._scene.set_ambient_light(list(twin.lighting.ambient))
        light = twin.lighting
        self._scene.add_directional_light(list(light.direction), list(light.directional))
        self._entities: dict[str, Any] = {}
        for link in robot.builder().link_builders:
            mesh = robot.link_mesh(link.name)
            if mesh is not None:
                material = _material(LINK_COLOURS.get(link.name, WHITE))
                shape = sapien.render.RenderShapeTriangleMesh(mesh, np.ones(3), material)
                self._entities[link.name] = self._add([shape])
        for model in objects:
            self._entities[model.name] = self._add(
                [_shape(part, model.colour) for part in shapes.parts(model)]
            )
        for drawer in drawers:
            self._entities[drawer.name] = self._add(
                [_shape(part, drawer.colour) for part in cabinet.cabinet_parts(drawer)]
            )
            sliding = [_shape(part, drawer.colour) for part in cabinet.drawer_parts(drawer)]
            bar = [_shape(part, drawer.handle_colour) for part in cabinet.handle_parts(drawer)]
            self._entities[drawer.handle_name] = self._add(sliding + bar)
        self._twin = twin
        table, *room = _surroundings(twin)
        if twin.backgrounds:  # an entity of its own, so that photos can take its place
            self._add([table])
            self._room_id = int(self._add(room).per_scene_id)
        else:
            self._add([table, *room])

    def camera(self, model: CameraModel, size: tuple[int, int], K: Any) -> Camera:
        """Add a camera at the pose of `model`, of `size` (width, height) and intrinsics `K`."""
        added = Camera(self._scene, model, size, K)
        photo = self._twin.background(model.name)
        if photo is not None:
            added.put_behind(photo.seen_by(size, np.asarray(K, float)), self._room_id)
        self._scene.update_render()
        return added

    def pose(self, poses: Mapping[str, Any]) -> None:
        """Move every link and object to its SAPIEN pose."""
        for name, entity in self._entities.items():
            entity.set_pose(poses[name])
        self._scene.update_render()

    @property
    def ids(self) -> dict[str, int]:
        """The number of every link and object in `Camera.entities`."""
        return {name: int(entity.per_scene_id) for name, entity in self._entities.items()}

    def _add(self, visuals: list[Any]) -> Any:
        body = sapien.render.RenderBodyComponent()
        for shape in visuals:
            body.attach(shape)
        entity = sapien.Entity()
        entity.add_component(body)
        self._scene.add_entity(entity)
        return entity


class Camera:
    """One pinhole camera of a render scene, with OpenCV's lens distortion where there is any."""

    def __init__(
        self,
        scene: Any,
        model: CameraModel,
        size: tuple[int, int],
        intrinsics: NDArray[np.float64],
    ) -> None:
        """Place the camera; `intrinsics` has pixel centres at whole numbers, as OpenCV."""
        width, height = size
        use_shaders()
        self._component = sapien.render.RenderCameraComponent(width, height)
        fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
        cx, cy = float(intrinsics[0, 2]) + 0.5, float(intrinsics[1, 2]) + 0.5
        self._component.set_perspective_parameters(NEAR_M, FAR_M, fx, fy, cx, cy, 0.0)
        turn = pose_matrix(np.zeros(3), OPTICAL_TO_SAPIEN)
        entity = sapien.Entity()
        entity.add_component(self._component)
        entity.set_pose(sapien_pose(model.T_base_camera @ turn))
        scene.add_entity(entity)
        self._maps = _distortion_maps(model.distortion, size, intrinsics)
        self._photo: UInt8Image | None = None
        self._room_id = NOTHING

    def put_behind(self, photo: UInt8Image, room_id: int) -> None:
        """Show a photo `(H, W, 3)`, free of distortion, in place of an entity and of nothing."""
        self._photo, self._room_id = photo, room_id

    def picture(self) -> UInt8Image:
        """Return `(H, W, 3)` uint8 RGB of the scene as it was last posed."""
        self._component.take_picture()
        colour = self._component.get_picture("Color")
        frame = np.ascontiguousarray(colour[..., :3])
        if frame.dtype != np.uint8:
            frame = (np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8)
        if self._photo is not None:
            seen = self._component.get_picture("PositionSegmentation")[..., 3]
            behind = (seen == NOTHING) | (seen == self._room_id)
            np.copyto(frame, self._photo, where=behind[..., None])
        if self._maps is None:
            return frame
        return np.asarray(
            cv2.remap(frame, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            np.uint8,
        )

    def entities(self) -> NDArray[np.int16]:
        """Return `(H, W)`: which entity (`Renderer.ids`) each pixel shows, as last posed."""
        self._component.take_picture()
        seen = np.ascontiguousarray(self._component.get_picture("PositionSegmentation")[..., 3])
        if self._maps is None:
            return np.asarray(seen, np.int16)
        # Fixed-point maps are cut off, not rounded, where pixels are not mixed.
        u, v = cv2.convertMaps(self._maps[0], self._maps[1], cv2.CV_32FC1)
        return np.asarray(cv2.remap(seen, u, v, cv2.INTER_NEAREST), np.int16)


def add_noise(frame: UInt8Image, std: float, rng: np.random.Generator) -> UInt8Image:
    """Return the frame with Gaussian noise of `std` 8-bit counts a channel."""
    if std == 0:
        return frame
    noise = rng.standard_normal(frame.shape, np.float32) * np.float32(std)
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def _distortion_maps(
    distortion: tuple[float, ...], size: tuple[int, int], K: NDArray[np.float64]
) -> tuple[Any, Any] | None:
    """Return the `cv2.remap` maps from an ideal pinhole picture to the distorted one."""
    if not any(distortion):
        return None
    u, v = np.meshgrid(np.arange(size[0], dtype=float), np.arange(size[1], dtype=float))
    pixels = np.stack([u.ravel(), v.ravel()], axis=-1)[:, None]
    ideal = cv2.undistortPoints(pixels, K, np.array(distortion), P=K).reshape(*u.shape, 2)
    return cv2.convertMaps(
        ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32), cv2.CV_16SC2
    )


def _material(colour: tuple[float, float, float]) -> Any:
    return sapien.render.RenderMaterial(base_color=[*colour, 1.0], roughness=0.7, specular=0.2)


def _shape(part: shapes.Part, colour: tuple[float, float, float]) -> Any:
    material = _material(colour)
    shape: Any
    if part.kind == "disc":
        radius, half = part.size_m[0] / 2, part.size_m[2] / 2
        shape = sapien.render.RenderShapeCylinder(radius, half, material)
    else:
        shape = sapien.render.RenderShapeBox(np.array(part.size_m) / 2, material)
    shape.local_pose = sapien_pose(part.T_object_part) * shapes.upright(part)
    return shape


def _box(low: Any, high: Any, colour: tuple[float, float, float]) -> Any:
    low, high = np.asarray(low, float), np.asarray(high, float)
    shape = sapien.render.RenderShapeBox((high - low) / 2, _material(colour))
    shape.local_pose = sapien.Pose((low + high) / 2)
    return shape


def _surroundings(twin: Twin) -> list[Any]:
    """Return the table top and a room of the backdrop's colour around it."""
    table, colour = twin.table, twin.lighting.backdrop_colour
    (x, y), (length, depth) = table.centre_xy_m, table.size_xy_m
    top = table.height_m
    bench = _box(
        (x - length / 2, y - depth / 2, top - TABLE_THICKNESS_M),
        (x + length / 2, y + depth / 2, top),
        table.colour,
    )
    floor, half, thick = top - FLOOR_BELOW_TABLE_M, ROOM_HALF_M, 0.05
    ceiling = floor + 2 * half
    darker = (colour[0] * 0.75, colour[1] * 0.75, colour[2] * 0.75)
    return [
        bench,
        _box((x - half, y - half, floor - thick), (x + half, y + half, floor), darker),
        _box((x - half, y + half, floor), (x + half, y + half + thick, ceiling), colour),
        _box((x - half, y - half - thick, floor), (x + half, y - half, ceiling), colour),
        _box((x + half, y - half, floor), (x + half + thick, y + half, ceiling), colour),
        _box((x - half - thick, y - half, floor), (x - half, y + half, ceiling), colour),
    ]
