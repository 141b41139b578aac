"""Closed-form hand-eye solutions of A X = X B: the methods behind OpenCV's `calibrateHandEye`.

Written here because the Python wheels of OpenCV 5.0.0 leave that function out (opencv issue
29565); the tests hold them against the answers of OpenCV 4.14. They start the refinement and are
the baselines that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import inverse, pose_matrix
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


def pairs(A_views: Array, C_views: Array) -> tuple[Array, Array]:
    """Return the relative motions `(M, 4, 4)` of every two views, each of which solves AX = XB.

    Args:
        A_views: `(V, 4, 4)` the robot's poses: `T_base_tcp` for a fixed camera (its inverse for one
            on the hand).
        C_views: `(V, 4, 4)` `T_camera_board`.
    """
    first, second = np.triu_indices(len(A_views), k=1)
    return A_views[second] @ inverse(A_views[first]), C_views[second] @ inverse(C_views[first])


def _translation(rotation: Array, A: Array, B: Array) -> Array:
    """Return t of (R_A - 1) t = R t_B - t_A, by least squares."""
    left = (A[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    right = (B[:, :3, 3] @ rotation.T - A[:, :3, 3]).reshape(-1)
    return np.asarray(np.linalg.lstsq(left, right, rcond=None)[0])


def tsai(A: Array, B: Array) -> Array:
    """Tsai and Lenz 1989: modified Rodrigues vectors; OpenCV's default."""
    vectors = []
    for motion in (A, B):
        rotvec = Rotation.from_matrix(motion[:, :3, :3]).as_rotvec()
        angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
        vectors.append(2 * np.sin(angle / 2) * rotvec / np.maximum(angle, 1e-12))
    a, b = vectors
    left = _skew(a + b).reshape(-1, 3)
    p = np.linalg.lstsq(left, (b - a).reshape(-1), rcond=None)[0]
    p = 2 * p / np.sqrt(1 + p @ p)
    square = p @ p
    rotation = (1 - square / 2) * np.eye(3) + 0.5 * (
        np.outer(p, p) + np.sqrt(max(4 - square, 0.0)) * _skew(p[None])[0]
    )
    return pose_matrix(_translation(rotation, A, B), rotation)


def park(A: Array, B: Array) -> Array:
    """Park and Martin 1994: logarithms of the rotations."""
    a = Rotation.from_matrix(A[:, :3, :3]).as_rotvec()
    b = Rotation.from_matrix(B[:, :3, :3]).as_rotvec()
    u, _, vt = np.linalg.svd(a.T @ b)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return pose_matrix(_translation(rotation, A, B), rotation)


def daniilidis(A: Array, B: Array) -> Array:
    """Daniilidis 1999: dual quaternions, rotation and translation at once."""
    rows = []
    for one, other in zip(A, B, strict=True):
        a, a_dual = _dual(one)
        b, b_dual = _dual(other)
        upper = np.hstack([(a - b)[:, None], _skew((a + b)[None])[0], np.zeros((3, 4))])
        lower = np.hstack(
            [
                (a_dual - b_dual)[:, None],
                _skew((a_dual + b_dual)[None])[0],
                (a - b)[:, None],
                _skew((a + b)[None])[0],
            ]
        )
        rows += [upper, lower]
    _, _, vt = np.linalg.svd(np.vstack(rows))
    u1, v1, u2, v2 = vt[6, :4], vt[6, 4:], vt[7, :4], vt[7, 4:]
    ratios = np.roots([u1 @ v1, u1 @ v2 + u2 @ v1, u2 @ v2]).real
    norms = [s * s * (u1 @ u1) + 2 * s * (u1 @ u2) + u2 @ u2 for s in ratios]
    best = int(np.argmax(norms))
    second = 1 / np.sqrt(norms[best])
    real, dual = (ratios[best] * u1 + u2) * second, (ratios[best] * v1 + v2) * second
    rotation = Rotation.from_quat(real, scalar_first=True)
    translation = 2 * (_multiply(dual, real * [1, -1, -1, -1]))[1:]
    return pose_matrix(translation, rotation.as_matrix())


METHODS: dict[str, Callable[[Array, Array], Array]] = {
    "tsai": tsai,
    "park": park,
    "daniilidis": daniilidis,
}


def _skew(vectors: Array) -> Array:
    """Return the cross-product matrices `(M, 3, 3)` of vectors `(M, 3)`."""
    zero = np.zeros(len(vectors))
    x, y, z = vectors.T
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)


def _dual(pose: Array) -> tuple[Array, Array]:
    """Return the vector parts of a pose's dual quaternion, real and dual."""
    real = Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True, scalar_first=True)
    dual = 0.5 * _multiply(np.array([0.0, *pose[:3, 3]]), real)
    return real[1:], dual[1:]


def _multiply(p: Array, q: Array) -> Array:
    """Return the Hamilton product of two quaternions (w, x, y, z)."""
    vector = p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:])
    return np.array([p[0] * q[0] - p[1:] @ q[1:], *vector])
