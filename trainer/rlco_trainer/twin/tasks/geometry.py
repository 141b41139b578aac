"""Small geometry that tasks and their experts share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import pose_matrix

from rlco_trainer.twin.robot import TOOL_DOWN
from rlco_trainer.twin.tasks.base import SceneView

Array = NDArray[np.float64]

SETTLED_M_PER_S = 0.02
SETTLED_RAD_PER_S = 0.3
TOUCH_N = 0.05


def tool_down(position_m: Array, yaw_rad: float) -> Array:
    """Return a TCP pose with the tool straight down, turned by `yaw_rad` about the vertical."""
    pose = upright(position_m, yaw_rad)
    pose[:3, :3] = pose[:3, :3] @ TOOL_DOWN
    return pose


def upright(position_m: Array, yaw_rad: float) -> Array:
    """Return a frame with z up, turned by `yaw_rad` about it."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return pose_matrix(np.asarray(position_m, float), turn)


def tcp_yaw_rad(pose: Array) -> float:
    """Return the yaw of a tool-down pose: the direction of its x axis in the base frame."""
    return math.atan2(pose[1, 0], pose[0, 0])


def object_yaw_rad(pose: Array) -> float:
    """Return the direction of an object's most horizontal axis in the base frame."""
    axis = pose[:3, int(np.argmin(np.abs(pose[2, :3])))]
    return math.atan2(axis[1], axis[0])


def nearest_equivalent_rad(angle: float, reference: float, period: float) -> float:
    """Return the angle equal to `angle` modulo `period` that is nearest to `reference`."""
    return angle + period * round((reference - angle) / period)


def settled(view: SceneView, name: str) -> bool:
    """Say whether an object is as good as at rest."""
    linear, angular = view.object_speed(name)
    return linear < SETTLED_M_PER_S and angular < SETTLED_RAD_PER_S


def touched(view: SceneView, name: str) -> bool:
    """Say whether a finger touches the object."""
    return max(view.touch_force_n(name)) > TOUCH_N


def grasped(view: SceneView, name: str) -> bool:
    """Say whether both fingers press on the object."""
    return min(view.touch_force_n(name)) > 1.0


def closeness(distance_m: float, scale_m: float) -> float:
    """Return a reward term that falls from 1 at no distance to 0 far away."""
    return 1.0 - math.tanh(distance_m / scale_m)
