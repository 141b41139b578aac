from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_datasets.contract import CameraSpec, franka_compact, franka_third_person
from rlco_datasets.images import ImageError, policy_image, policy_intrinsics

COMPACT = franka_compact().cameras[0]
THIRD_PERSON = franka_third_person().cameras[0]
K = np.array([[300.0, 0, 161.5], [0, 290.0, 117.25], [0, 0, 1]])


@st.composite
def cameras(draw: st.DrawFn) -> CameraSpec:
    """Crops that shrink by a whole factor, so that the expected image can be computed by hand."""
    width, height = draw(st.integers(2, 16)), draw(st.integers(2, 16))
    factor = draw(st.integers(1, 5))
    left, top = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    return CameraSpec(
        name="camera",
        source_width=left + width * factor + draw(st.integers(0, 9)),
        source_height=top + height * factor + draw(st.integers(0, 9)),
        crop=(left, top, width * factor, height * factor),
        width=width,
        height=height,
    )


@given(camera=cameras(), seed=st.integers(0, 99))
def test_the_image_is_the_area_average_of_the_crop(camera: CameraSpec, seed: int) -> None:
    shape = (camera.source_height, camera.source_width, 3)
    frame = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    left, top, width, height = camera.crop
    crop = frame[top : top + height, left : left + width].astype(float)
    factor = width // camera.width
    expected = crop.reshape(camera.height, factor, camera.width, factor, 3).mean(axis=(1, 3))
    image = policy_image(frame, camera)
    if frame.shape == image.shape and (width, height) != frame.shape[1::-1]:
        return
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, expected, atol=0.51)


@pytest.mark.parametrize("camera", [COMPACT, THIRD_PERSON])
def test_rendering_the_crop_alone_gives_the_same_image(camera: CameraSpec) -> None:
    """A twin renders only the crop, enlarged by a whole number; both paths must agree."""
    scale = 3
    left, top, width, height = camera.crop
    rows = (np.arange(camera.source_height) - top + 0.5) / height
    columns = (np.arange(camera.source_width) - left + 0.5) / width
    view_rows = (np.arange(camera.height * scale) + 0.5) / (camera.height * scale)
    view_columns = (np.arange(camera.width * scale) + 0.5) / (camera.width * scale)

    def scene(v: np.ndarray, u: np.ndarray) -> np.ndarray:
        value = 127 + 60 * np.sin(5 * v)[:, None] + 60 * np.cos(4 * u)[None]
        return np.repeat(value[..., None], 3, axis=2).astype(np.uint8)

    source = policy_image(scene(rows, columns), camera)
    view = policy_image(scene(view_rows, view_columns), camera)
    assert np.abs(source.astype(int) - view).max() <= 2


def test_a_policy_image_passes_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(policy_image(image, COMPACT), image)
    np.testing.assert_array_equal(policy_image(policy_image(image, COMPACT), COMPACT), image)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((480, 640, 3), np.uint8, "frame is 640x480, the contract says 320x240"),
        ((64, 128, 3), np.uint8, "frame is 128x64"),
        ((63, 64, 3), np.uint8, "frame is 64x63"),
        ((240, 320), np.uint8, r"expected uint8 RGB of shape \(H, W, 3\), got uint8 \(240, 320\)"),
        ((240, 320, 4), np.uint8, r"\(240, 320, 4\)"),
        ((240, 320, 3), np.float32, "float32"),
    ],
)
def test_wrong_frames_are_refused(shape: tuple[int, ...], dtype: type, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        policy_image(np.zeros(shape, dtype), COMPACT)
    assert "'third_person'" in str(caught.value)


@settings(max_examples=60)
@given(
    camera=st.sampled_from([COMPACT, THIRD_PERSON]),
    point=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0.9, 2)),
    scale=st.integers(1, 4),
)
def test_intrinsics_agree_with_where_pixels_go(
    camera: CameraSpec, point: tuple[float, float, float], scale: int
) -> None:
    """A pixel's area [u - 1/2, u + 1/2] goes through crop and resize to the projected one."""
    u, v, w = K @ point
    left, top, width, height = camera.crop
    expected = (
        ((u / w + 0.5 - left) / width) * camera.width * scale - 0.5,
        ((v / w + 0.5 - top) / height) * camera.height * scale - 0.5,
    )
    a, b, c = policy_intrinsics(K, camera, scale) @ point
    np.testing.assert_allclose((a / c, b / c), expected, atol=1e-9)


@pytest.mark.parametrize("camera", [COMPACT, THIRD_PERSON])
def test_a_bright_spot_lands_where_the_intrinsics_say(camera: CameraSpec) -> None:
    """Measured on pixels: the centroid of a blob in the policy image is its projection."""
    left, top, width, height = camera.crop
    source_u, source_v = left + 0.37 * width, top + 0.61 * height
    v, u = np.mgrid[: camera.source_height, : camera.source_width]
    sigma = width / 20
    blob = 250 * np.exp(-((u - source_u) ** 2 + (v - source_v) ** 2) / (2 * sigma**2))
    image = policy_image(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8), camera)
    weight = image[..., 0].astype(float)
    rows, columns = np.mgrid[: camera.height, : camera.width]
    centroid = ((columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum())
    ray = np.linalg.inv(K) @ [source_u, source_v, 1]
    a, b, c = policy_intrinsics(K, camera) @ ray
    np.testing.assert_allclose(centroid, (a / c, b / c), atol=0.05)
