"""Rigid-body poses, rotations and the action arithmetic of the contract.

Poses are `(..., 4, 4) float64` homogeneous matrices; `T_base_tcp` maps TCP coordinates to the base
frame. Everything here works on batches. One pose at a time, as in a control loop, goes through
plain floats, which takes a tenth of the time that arrays of three numbers do.
"""

from __future__ import annotations

import math

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
    w, x, y, z = (quaternion / norm).tolist()
    rotation = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return pose_matrix(position, rotation)


def quaternion_wxyz(rotation: ArrayLike) -> Array:
    """Return the unit quaternions `(..., 4)` (w, x, y, z; w >= 0) of rotation matrices."""
    rotation = np.asarray(rotation, float)
    if rotation.ndim == 2:
        return np.array(_quaternion(rotation))
    quaternion = Rotation.from_matrix(rotation).as_quat(canonical=True, scalar_first=True)
    return np.asarray(quaternion, float)


def rotation_from_vector(vector: ArrayLike) -> Array:
    """Return the rotation matrices `(..., 3, 3)` of rotation vectors `(..., 3)`, rad."""
    vector = np.asarray(vector, float)
    if vector.ndim > 1:
        turns = Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix()
        return np.asarray(turns.reshape(*vector.shape[:-1], 3, 3), float)
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    half = math.sin(angle / 2)
    # Rodrigues' formula; the series hold to the last digit where the quotients would not
    a = math.sin(angle) / angle if angle > 1e-4 else 1 - angle * angle / 6
    b = 2 * half * half / (angle * angle) if angle > 1e-4 else 0.5 - angle * angle / 24
    return np.array(
        (
            (1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y),
            (b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x),
            (b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)),
        )
    )


def rotation_vector(rotation: ArrayLike) -> Array:
    """Return the rotation vectors `(..., 3)`, rad, of at most pi, of matrices `(..., 3, 3)`."""
    rotation = np.asarray(rotation, float)
    if rotation.ndim > 2:
        vectors = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec()
        return np.asarray(vectors.reshape(rotation.shape[:-1]), float)
    w, x, y, z = _quaternion(rotation)
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2 * math.atan2(sine, w) / sine if sine > 1e-9 else 2.0
    return np.array((x * scale, y * scale, z * scale))


def _quaternion(rotation: Array) -> tuple[float, float, float, float]:
    """Return the unit quaternion (w, x, y, z; the first that is not zero is positive) of a matrix.

    Shepperd, "Quaternion from rotation matrix", 1978: divides by the largest of the four.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    trace = xx + yy + zz
    largest = max(trace, xx, yy, zz)
    if trace == largest:
        parts = (1 + trace, zy - yz, xz - zx, yx - xy)
    elif xx == largest:
        parts = (zy - yz, 1 + 2 * xx - trace, xy + yx, xz + zx)
    elif yy == largest:
        parts = (xz - zx, xy + yx, 1 + 2 * yy - trace, yz + zy)
    else:
        parts = (yx - xy, xz + zx, yz + zy, 1 + 2 * zz - trace)
    sign = next((math.copysign(1.0, part) for part in parts if part != 0), 1.0)
    scale = sign / math.hypot(*parts)
    w, x, y, z = (part * scale for part in parts)
    return w, x, y, z


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
    if pose.ndim == 2:
        (xx, xy, _, x), (yx, yy, _, y), (zx, zy, _, z), _ = pose.tolist()
        return np.array((x, y, z, xx, yx, zx, xy, yy, zy, gripper_width_m), np.float32)
    width = np.broadcast_to(np.asarray(gripper_width_m, float)[..., None], (*pose.shape[:-2], 1))
    parts = [pose[..., :3, 3], rotation_to_6d(pose[..., :3, :3]), width]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def apply_delta(T_base_reference: ArrayLike, delta: ArrayLike) -> Array:
    """Return the target pose `(..., 4, 4)` that a delta `(..., 6)` (m, rad; base frame) asks for.

    The translation adds and the rotation composes on the left: both are in the base frame.
    """
    reference, delta = np.asarray(T_base_reference, float), np.asarray(delta, float)
    rotation = rotation_from_vector(delta[..., 3:6]) @ reference[..., :3, :3]
    return pose_matrix(reference[..., :3, 3] + delta[..., :3], rotation)


def delta_between(T_base_reference: ArrayLike, T_base_target: ArrayLike) -> Array:
    """Return the delta `(..., 6)` (m, rad; base frame) from a reference to a target pose.

    The inverse of `apply_delta` for rotations under pi.
    """
    reference, target = np.asarray(T_base_reference, float), np.asarray(T_base_target, float)
    turn = target[..., :3, :3] @ np.swapaxes(reference[..., :3, :3], -1, -2)
    translation = target[..., :3, 3] - reference[..., :3, 3]
    return np.concatenate([translation, rotation_vector(turn)], axis=-1)


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
