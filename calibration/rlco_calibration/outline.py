"""How far the arm's outline in the twin lies from the real frame's edges, and how masks overlap.

Only the arm's silhouette is compared: where it stands is known in both, to the pose of the hand.
Objects stand elsewhere in every frame, and shading and textures are not the geometry's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
UInt8Image = NDArray[np.uint8]

SURROUNDINGS, ARM, MOVABLE = 0, 1, 2
"""Labels of a twin's pixels: what never moves; the arm; objects, which may stand anywhere."""
REACH_PX = 10
"""How far to both sides of the outline an edge is looked for."""
BORDER_PX = 4
"""Pixels along the frame's border that are left out."""
CLEAR_PX = 3
"""Pixels around what hides the arm that are left out."""
NOISE_FACTOR = 5.0
"""An edge is a step of brightness this many times over the frame's typical one."""
LEAST_STEP = 6.0
"""The faintest edge that counts, 8-bit counts a pixel."""
LEAST_POINTS = 30
"""With fewer points that show an edge, nothing can be said."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Offsets (px, along the outward normal) of the outline's points that show an edge.

    `edges_px` `(N, 2)` (x, y) are the real edges that were found, `looked_at` is how many points of
    the outline were looked at, `twin_arm` `(H, W)` the arm's mask without what is hidden.
    """

    offsets_px: Array
    edges_px: Array
    looked_at: int
    twin_arm: Mask

    @property
    def mask_missed(self) -> float:
        """One minus intersection over union of the twin's mask and the real one.

        The real mask is the twin's with its rim moved to the edges, where there are any; where
        there are none, by as much as elsewhere on average.
        """
        area = int(np.count_nonzero(self.twin_arm))
        if not len(self.offsets_px) or not area:
            return 1.0
        grown = float(np.maximum(self.offsets_px, 0).mean()) * self.looked_at
        shrunk = float(np.maximum(-self.offsets_px, 0).mean()) * self.looked_at
        return 1 - max(area - shrunk, 0.0) / (area + grown)


def align(real: UInt8Image, labels: NDArray[np.uint8], hidden_by: Array | None = None) -> Alignment:
    """Compare a real frame `(H, W, 3)` with the twin's labels `(H, W)` of the same pose.

    `hidden_by` `(N, 2)` px outlines what stands before the arm in the real frame only.
    """
    hidden = labels == MOVABLE
    if hidden_by is not None:
        drawn = np.zeros(labels.shape, np.uint8)
        cv2.fillPoly(drawn, [np.rint(hidden_by).astype(np.int32)], 1)
        hidden |= drawn > 0
    usable = ~_grown(hidden, CLEAR_PX)
    usable[:BORDER_PX] = usable[-BORDER_PX:] = False
    usable[:, :BORDER_PX] = usable[:, -BORDER_PX:] = False
    arm = labels == ARM
    points, normals = _outline(arm, usable)
    grey = cv2.GaussianBlur(cv2.cvtColor(real, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(float)
    offsets, seen = _offsets(grey, points, normals)
    return Alignment(
        offsets_px=offsets,
        edges_px=points[seen] + offsets[:, None] * normals[seen],
        looked_at=len(points),
        twin_arm=arm & ~hidden,
    )


def _grown(mask: Mask, pixels: int) -> Mask:
    size = 2 * pixels + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def _outline(arm: Mask, usable: Mask) -> tuple[Array, Array]:
    """Return usable points `(N, 2)` (x, y) of the arm's rim, and outward normals `(N, 2)`."""
    soft = cv2.GaussianBlur(arm.astype(np.float32), (0, 0), 2.0)
    dx, dy = (cv2.Sobel(soft, cv2.CV_32F, i, 1 - i, ksize=3) for i in (1, 0))
    inside = cv2.erode(arm.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    y, x = np.nonzero(arm & ~inside & usable)
    normals = -np.stack([dx[y, x], dy[y, x]], axis=-1).astype(float)
    length = np.linalg.norm(normals, axis=-1)
    kept = length > 1e-3
    # The rim's pixels are the arm's: the silhouette itself runs half a pixel further out.
    normals = normals[kept] / length[kept, None]
    return np.stack([x, y], axis=-1).astype(float)[kept] + 0.5 * normals, normals


def _offsets(grey: Array, points: Array, normals: Array) -> tuple[Array, Mask]:
    """Return where along its normal each point meets the steepest step, and which points do.

    A step counts if it is larger than noise, and is not at the end of the search: there it is
    the flank of something else.
    """
    if not len(points):
        return np.zeros(0), np.zeros(0, bool)
    along = np.arange(-REACH_PX - 1, REACH_PX + 2, 0.5)
    places = points[:, None] + along[None, :, None] * normals[:, None]
    values = map_coordinates(grey, [places[..., 1], places[..., 0]], order=1, mode="nearest")
    steps = np.abs(values[:, 2:] - values[:, :-2])
    middle = along[1:-1]
    vertical, horizontal = np.abs(np.diff(grey, axis=0)), np.abs(np.diff(grey, axis=1))
    typical = float(np.median(np.concatenate([vertical.ravel(), horizontal.ravel()])))
    found = np.argmax(steps, axis=1)
    rows = np.arange(len(points))
    seen = steps[rows, found] > max(LEAST_STEP, NOISE_FACTOR * typical)
    seen &= (found > 0) & (found < len(middle) - 1)
    return np.asarray(middle[found[seen]]), np.asarray(seen)
