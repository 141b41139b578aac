"""Twins in words: what one holds, and how two differ, in millimetres and degrees."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from rlco_datasets import spec
from scipy.spatial.transform import Rotation

from rlco_calibration.parts import ArmController, CameraModel
from rlco_calibration.twin import Twin


def show(twin: Twin) -> list[str]:
    """Return lines that say what a twin holds."""
    lines = [f"twin {twin.name} ({twin.id}), for contract {twin.contract_id}"]
    for camera in twin.cameras:
        x, y, z = camera.position_m
        field = math.degrees(2 * math.atan(camera.height / (2 * camera.fy)))
        lines.append(
            f"camera {camera.name}: {camera.width}x{camera.height}, {field:.0f} deg high, at "
            f"({x:.3f}, {y:.3f}, {z:.3f}) m"
        )
    lines += [f"background of {photo.name}: a photo" for photo in twin.backgrounds]
    table = twin.table
    lines.append(
        f"table: {table.size_xy_m[0]:.2f} x {table.size_xy_m[1]:.2f} m at height "
        f"{table.height_m * 1000:.0f} mm, friction {table.friction:g}"
    )
    for item in twin.objects:
        size = " x ".join(f"{edge * 1000:.0f}" for edge in item.size_m)
        lines.append(
            f"{item.kind} {item.name}: {size} mm, {item.mass_kg * 1000:.0f} g, "
            f"friction {item.friction:g}"
        )
    for drawer in twin.drawers:
        lines.append(f"drawer {drawer.name}: travel {drawer.travel_m * 1000:.0f} mm")
    lines.append(
        f"arm: delay {twin.arm.delay_s * 1000:.0f} ms, gain {twin.arm.gain:g}, stiffness "
        f"{twin.arm.stiffness:g} N m/rad"
    )
    lines += [f'task {task.name}: "{task.instruction}"' for task in twin.tasks]
    for entry in twin.provenance:
        std = ", ".join(f"{value:.2g}" for value in entry.std)
        lines.append(f"source of {entry.name}: {entry.source}" + (f" (std {std})" if std else ""))
    return lines


def differences(left: Twin, right: Twin) -> list[str]:
    """Return lines that say how `right` differs from `left`; none if they agree.

    Camera poses and the arm's controller are put in words; every other field is named by its path.
    """
    lines: list[str] = []
    told: list[str] = []
    others = {camera.name: camera for camera in right.cameras}
    for camera in left.cameras:
        if camera.name in others:
            lines += _camera(camera, others[camera.name])
            told += [f"cameras.{camera.name}.{part}" for part in ("position_m", "quaternion_wxyz")]
    arm = list(_arm(left.arm, right.arm))
    if arm:
        lines.append("arm: " + ", ".join(arm))
    told += ["arm.delay_s", "arm.gain"]
    for item in spec.diff(left, right):
        group, _, rest = item.path.partition(".")
        if group == "backgrounds":  # a photo is no text to read
            lines += [f"background {rest.rpartition('.')[0]}: another photo"] * (
                rest.endswith("jpeg_base64")
            )
        elif item.path not in told:
            lines.append(str(item))
    return lines


def _camera(left: CameraModel, right: CameraModel) -> list[str]:
    moved = (np.array(right.position_m) - np.array(left.position_m)) * 1000
    turn = Rotation.from_matrix(
        right.T_base_camera[:3, :3] @ left.T_base_camera[:3, :3].T
    ).magnitude()
    if not moved.any() and turn < 1e-6:
        return []
    x, y, z = moved
    return [
        f"camera {left.name}: moved {np.linalg.norm(moved):.1f} mm ({x:+.1f}, {y:+.1f}, {z:+.1f}), "
        f"turned {math.degrees(turn):.2f} deg"
    ]


def _arm(left: ArmController, right: ArmController) -> Iterator[str]:
    if left.delay_s != right.delay_s:
        yield f"delay {left.delay_s * 1000:.0f} -> {right.delay_s * 1000:.0f} ms"
    if left.gain != right.gain:
        yield f"gain {left.gain:g} -> {right.gain:g}"
