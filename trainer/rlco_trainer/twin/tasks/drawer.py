"""What opening and closing a drawer share: where the handle is, and where fingers go to move it.

Everything is read from two poses, the cabinet's and the handle's, as a person would see them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.parts import Drawer

from rlco_trainer.twin.tasks import geometry
from rlco_trainer.twin.tasks.base import SceneView

Array = NDArray[np.float64]

DRAWER, HANDLE = "drawer", "drawer_handle"
HOVER_M = 0.07
"""Height over the handle at which the fingertips pass above it."""
FINGER_HALF_DEPTH_M = 0.011
BELOW_HANDLE_M = 0.004
"""How far the TCP goes below the bar's centre; the fingertips are 9 mm lower."""
CLEAR_M = 0.012
"""Gap between fingers and bar that counts as let go."""
SYMMETRY_RAD = math.pi


def model(view: SceneView) -> Drawer:
    """Return the twin's drawer."""
    return view.twin.drawer(DRAWER)


def opened(view: SceneView) -> float:
    """Return the opened fraction of the drawer's travel."""
    offset = view.object_pose(HANDLE)[:3, 3] - closed_handle(view)
    return float(offset @ opening_direction(view)) / model(view).travel_m


def closed_handle(view: SceneView) -> Array:
    """Return where the handle is when the drawer is closed, `(3,)`, m."""
    pose = view.object_pose(DRAWER) @ model(view).T_cabinet_handle
    return np.asarray(pose[:3, 3])


def handle_at(view: SceneView, fraction: float) -> Array:
    """Return where the handle is at an opened fraction, `(3,)`, m."""
    return closed_handle(view) + fraction * model(view).travel_m * opening_direction(view)


def opening_direction(view: SceneView) -> Array:
    """Return the unit vector `(3,)` that the drawer opens along."""
    return -np.asarray(view.object_pose(DRAWER)[:3, 0])


def offset_from_handle(view: SceneView) -> Array:
    """Return handle to TCP `(3,)` in the cabinet's axes: x into the cabinet, z up."""
    rotation = view.object_pose(DRAWER)[:3, :3]
    return np.asarray(rotation.T @ (view.T_base_tcp[:3, 3] - view.object_pose(HANDLE)[:3, 3]))


def settled(view: SceneView) -> bool:
    """Say whether the drawer is as good as at rest."""
    return geometry.settled(view, HANDLE)


def behind_m(view: SceneView) -> float:
    """Return the distance from the bar's centre to that of fingers in the gap behind it."""
    return model(view).handle_size_m[0] / 2


def touching_m(view: SceneView) -> float:
    """Return the distance between the centres of bar and fingers that touch."""
    return model(view).handle_size_m[2] / 2 + FINGER_HALF_DEPTH_M


def beside_handle(view: SceneView, inward_m: float, up_m: float) -> Array:
    """Return the TCP pose at the handle, moved into the cabinet and up, square to the front."""
    return beside(view, view.object_pose(HANDLE)[:3, 3], inward_m, up_m)


def beside(view: SceneView, handle_m: Array, inward_m: float, up_m: float) -> Array:
    """Return the TCP pose as `beside_handle`, for a handle at `handle_m` `(3,)`."""
    position = handle_m - inward_m * opening_direction(view)
    yaw = geometry.nearest_equivalent_rad(cabinet_yaw_rad(view), 0.0, SYMMETRY_RAD)
    return geometry.tool_down(position + np.array([0.0, 0.0, up_m - BELOW_HANDLE_M]), yaw)


def lifted(view: SceneView) -> Array:
    """Return the commanded pose, raised until the fingers are well above the handle."""
    target = view.T_base_target.copy()
    target[2, 3] = view.object_pose(HANDLE)[2, 3] + HOVER_M
    return target


def handle_frame(view: SceneView) -> Array:
    """Return the handle's upright frame."""
    return geometry.upright(view.object_pose(HANDLE)[:3, 3], cabinet_yaw_rad(view))


def cabinet_frame(view: SceneView) -> Array:
    """Return the cabinet's upright frame."""
    return geometry.upright(view.object_pose(DRAWER)[:3, 3], cabinet_yaw_rad(view))


def cabinet_yaw_rad(view: SceneView) -> float:
    """Return the direction of the cabinet's x axis in the base frame."""
    return geometry.tcp_yaw_rad(view.object_pose(DRAWER))
