"""Rigid-body poses, rotations and the action arithmetic of the contract.

Poses are `(..., 4, 4) float64` homogeneous matrices; `T_base_tcp` maps TCP coordinates to the base
frame. Everything here is numpy and works on batches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


def pose_matrix(position_m: ArrayLike, rotation: ArrayLike) -> Array:
    """Return `(..., 4, 4)` poses from positions `(..., 3)` and rotation matrices `(..., 3, 3)`."""
    position = np.asarray(position_m, float)
    pose = np.zeros((*position.shape[:-1], 4, 4))
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = position
    pose[..., 3, 3] = 1.0
    return pose


def pose_from_quaternion(position_m: ArrayLike, quaternion_wxyz: ArrayLike) -> Array:
    """Return a `(4, 4)` pose from a position (m) and a unit quaternion (w, x, y, z).

    Raises:
        ValueError: if a value is not finite or the quaternion's norm is off 1 by over 1e-3.
    """
    quaternion = np.asarray(quaternion_wxyz, float)
    position = np.asarray(position_m, float)
    if not (np.isfinite(position).all() and np.isfinite(quaternion).all()):
        raise ValueError(f"pose has non-finite values: {position}, {quaternion}")
    norm = float(np.linalg.norm(quaternion))
    if abs(norm - 1.0) > 1e-3:
        raise ValueError(f"quaternion {quaternion} has norm {norm:.4f}, expected 1")
    return pose_matrix(position, Rotation.from_quat(quaternion, scalar_first=True).as_matrix())


def quaternion_wxyz(rotation: ArrayLike) -> Array:
    """Return the unit quaternions `(..., 4)` (w, x, y, z; w >= 0) of rotation matrices."""
    quaternion = Rotation.from_matrix(rotation).as_quat(canonical=True, scalar_first=True)
    return np.asarray(quaternion, float)


def inverse(pose: ArrayLike) -> Array:
    """Return the inverse of rigid poses `(..., 4, 4)`."""
    pose = np.asarray(pose, float)
    rotation_t = np.swapaxes(pose[..., :3, :3], -1, -2)
    return pose_matrix(-np.einsum("...ij,...j->...i", rotation_t, pose[..., :3, 3]), rotation_t)


def rotation_to_6d(rotation: ArrayLike) -> Array:
    """Return `(..., 6)`: the first two columns of `(..., 3, 3)`, one after the other.

    Zhou et al., "On the Continuity of Rotation Representations", 2019, eq. 14.
    """
    rotation = np.asarray(rotation, float)
    return np.concatenate([rotation[..., :, 0], rotation[..., :, 1]], axis=-1)


def rotation_from_6d(six: ArrayLike) -> Array:
    """Return rotation matrices `(..., 3, 3)` by Gram-Schmidt (Zhou et al. 2019, eq. 15)."""
    six = np.asarray(six, float)
    first = six[..., :3] / np.linalg.norm(six[..., :3], axis=-1, keepdims=True)
    second = six[..., 3:]
    second = second - np.sum(first * second, axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def state_vector(T_base_tcp: ArrayLike, gripper_width_m: ArrayLike) -> NDArray[np.float32]:
    """Return the contract's full state `(..., 10) float32`: position, 6-D rotation, width."""
    pose = np.asarray(T_base_tcp, float)
    width = np.broadcast_to(np.asarray(gripper_width_m, float)[..., None], (*pose.shape[:-2], 1))
    parts = [pose[..., :3, 3], rotation_to_6d(pose[..., :3, :3]), width]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def apply_delta(T_base_reference: ArrayLike, delta: ArrayLike) -> Array:
    """Return the target pose `(..., 4, 4)` that a delta `(..., 6)` (m, rad; base frame) asks for.

    The translation adds and the rotation composes on the left: both are in the base frame.
    """
    reference, delta = np.asarray(T_base_reference, float), np.asarray(delta, float)
    turn = Rotation.from_rotvec(delta[..., 3:6].reshape(-1, 3)).as_matrix()
    rotation = turn.reshape(*delta.shape[:-1], 3, 3) @ reference[..., :3, :3]
    return pose_matrix(reference[..., :3, 3] + delta[..., :3], rotation)


def delta_between(T_base_reference: ArrayLike, T_base_target: ArrayLike) -> Array:
    """Return the delta `(..., 6)` (m, rad; base frame) from a reference to a target pose.

    The inverse of `apply_delta` for rotations under pi.
    """
    reference, target = np.asarray(T_base_reference, float), np.asarray(T_base_target, float)
    turn = target[..., :3, :3] @ np.swapaxes(reference[..., :3, :3], -1, -2)
    rotvec = Rotation.from_matrix(turn.reshape(-1, 3, 3)).as_rotvec()
    translation = target[..., :3, 3] - reference[..., :3, 3]
    return np.concatenate([translation, rotvec.reshape(translation.shape)], axis=-1)


def look_at(eye_m: ArrayLike, target_m: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """Return `T_base_camera` of a camera at `eye_m` that looks at `target_m`.

    OpenCV optical frame: x right, y down, z forward.
    """
    eye = np.asarray(eye_m, float)
    forward = np.asarray(target_m, float) - eye
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, float))
    right = right / np.linalg.norm(right)
    return pose_matrix(eye, np.stack([right, np.cross(forward, right), forward], axis=-1))
