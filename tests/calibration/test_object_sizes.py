"""Sizes of boxes from clicks, a marker and depth, in synthetic pictures with known truth."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_calibration import box_depth, box_pixels
from rlco_calibration.board import DICTIONARIES
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import Lens
from rlco_calibration.objects import (
    Clicks,
    DepthSpot,
    ObjectCapture,
    ObjectFolder,
    SizeEstimate,
    Tag,
    combined,
)
from rlco_calibration.scene_fit import SHARED, SceneView
from rlco_datasets.frames import look_at

LENS = Lens(size=(640, 480), fx=605.0, fy=607.0, cx=322.0, cy=238.0,
            distortion=(0.05, -0.08, 0.001, -0.0005, 0.0))  # fmt: skip
TABLE_M = -0.004
NOTHING = np.zeros(SHARED)
USUAL = np.array([1e-3] * 3 + [2e-3] * 3 + [2.0] * 4 + [2e-4])


def view(shared_std=USUAL):
    return SceneView(
        lens=LENS,
        T_base_camera=look_at((0.9, -0.55, 0.55), (0.5, 0.0, 0.0)),
        table_m=TABLE_M,
        shared_std=np.asarray(shared_std),
    )


ALL = np.array([[x, y, z] for z in (0, 1) for x in (-1, 1) for y in (-1, 1)], float)


def clicked(place, size, *, noise_px=0.0, rng=None, far=True, true=None):
    """What a person clicks of a box: the three visible corners, left to right, and those above."""
    seen = true or view()
    corners = box_pixels.box_corners(np.asarray(place), np.asarray(size), ALL, TABLE_M)
    pixels = seen.pixels(corners, NOTHING)
    if noise_px:
        pixels = pixels + rng.normal(0, noise_px, pixels.shape)
    c, s = np.cos(place[2]), np.sin(place[2])
    towards = (seen.T_base_camera[:2, 3] - place[:2]) @ np.array([[c, -s], [s, c]])
    assert (np.abs(towards) > np.array(size[:2]) / 2).all(), "only one side is in sight"
    hidden = int(np.argmin(ALL[:4, :2] @ np.sign(towards)))
    visible = sorted({0, 1, 2, 3} - {hidden}, key=lambda i: pixels[i, 0])
    top = [pixels[4 + i] for i in visible] + ([pixels[4 + hidden]] if far else [])
    as_tuples = [
        [tuple(map(float, p)) for p in group] for group in ([pixels[i] for i in visible], top)
    ]
    return Clicks(table=tuple(as_tuples[0]), top=tuple(as_tuples[1]))


sizes = st.tuples(*(st.floats(0.02, 0.12),) * 3)
places = st.tuples(st.floats(0.42, 0.58), st.floats(-0.12, 0.12))


@given(size=sizes, place=places, turn=st.floats(-0.3, 0.3), far=st.booleans())
@settings(max_examples=25, deadline=None)
def test_exact_clicks_give_the_exact_box(size, place, turn, far):
    # at these yaws an upright edge faces the camera: three corners on the table are in sight
    yaw = turn + 0.05
    clicks = clicked((*place, yaw), size, far=far)
    found, _ = box_pixels.box_sizes("box", {"box_00": (view(), clicks, 0.05)})
    np.testing.assert_allclose([item.value_m for item in found], size, atol=1e-6)


def test_intervals_hold_the_size_when_clicks_and_camera_err():
    size, rng = (0.05, 0.03, 0.04), np.random.default_rng(0)
    held = 0
    for _ in range(12):
        shared = rng.normal(0, USUAL)
        captures = {}
        for index in range(3):
            place = (rng.uniform(0.45, 0.55), rng.uniform(-0.1, 0.1), rng.uniform(-0.2, 0.3))
            exact = clicked(place, size)
            corners = np.array([*exact.table, *exact.top])
            moved = _seen_with(place, size, shared, corners) + rng.normal(0, 0.6, corners.shape)
            points = [tuple(map(float, p)) for p in moved]
            clicks = Clicks(table=tuple(points[:3]), top=tuple(points[3:]))
            captures[f"box_{index:02d}"] = (view(), clicks, 0.0)
        found, _ = box_pixels.box_sizes("box", captures)
        errors = [abs(item.value_m - true) for item, true in zip(found, size, strict=True)]
        held += sum(e < 2.0 * item.std_m for e, item in zip(errors, found, strict=True))
        assert max(errors) < 0.004
        assert max(item.std_m for item in found) < 0.002
    assert held >= 0.9 * 36


def _seen_with(place, size, shared, exact):
    """Where the corners would be seen by a camera that errs by `shared`."""
    corners = box_pixels.box_corners(np.asarray(place), np.asarray(size), ALL, TABLE_M)
    before, after = view().pixels(corners, NOTHING), view().pixels(corners, shared)
    which = [int(np.argmin(np.linalg.norm(before - pixel, axis=-1))) for pixel in exact]
    return after[which]


def test_more_pictures_and_a_better_camera_make_it_surer():
    size, rng = (0.05, 0.03, 0.04), np.random.default_rng(1)
    captures = {}
    for i in range(6):
        clicks = clicked((0.5, -0.05 + 0.02 * i, 0.1), size, noise_px=0.5, rng=rng)
        captures[f"box_{i:02d}"] = (view(), clicks, 0.0)
    few = dict(list(captures.items())[:1])
    stds = [box_pixels.box_sizes("box", part)[0][0].std_m for part in (few, captures)]
    assert stds[1] < 0.75 * stds[0]
    sure = {k: (view(np.full(SHARED, 1e-9)), c, y) for k, (_, c, y) in captures.items()}
    assert box_pixels.box_sizes("box", sure)[0][2].std_m < stds[1]


def test_the_rough_yaw_says_which_edge_is_x():
    clicks = clicked((0.5, 0.0, 0.1), (0.08, 0.03, 0.04))
    for yaw, expected in ((0.0, (0.08, 0.03)), (np.pi / 2, (0.03, 0.08)), (np.pi, (0.08, 0.03))):
        found, _ = box_pixels.box_sizes("box", {"box_00": (view(), clicks, yaw)})
        assert (found[0].value_m, found[1].value_m) == pytest.approx(expected, abs=1e-6)


def test_clicks_that_make_no_box_name_the_capture():
    good = clicked((0.5, 0.0, 0.1), (0.05, 0.05, 0.05))
    swapped = Clicks(table=(good.table[1], good.table[0], good.table[2]), top=good.top)
    with pytest.raises(CalibrationError, match=r"box_03: the three clicks .* a corner of"):
        box_pixels.box_sizes("box", {"box_03": (view(), swapped, 0.0)})
    u, v = good.top[2]
    off = Clicks(table=good.table, top=(*good.top[:2], (u + 60, v), good.top[3]))
    with pytest.raises(CalibrationError, match=r"box_03: click .* px from the corner"):
        box_pixels.box_sizes("box", {"box_03": (view(), off, 0.0)})
    sky = Clicks(table=((10.0, -4000.0), *good.table[1:]), top=good.top)
    with pytest.raises(CalibrationError, match="does not look at the table"):
        box_pixels.box_sizes("box", {"box_03": (view(), sky, 0.0)})
    with pytest.raises(ValueError, match="3 corners on the table"):
        Clicks(table=good.table[:2], top=good.top)


def tag_points(height_m, tag, yaw=0.3):
    square = np.array([[-1, 1, 1], [1, 1, 1], [1, -1, 1], [-1, -1, 1]], float)
    size = np.array([tag.edge_m, tag.edge_m, height_m])
    return box_pixels.box_corners(np.array([0.52, -0.03, yaw]), size, square, TABLE_M)


def tagged_frame(height_m, tag, yaw=0.3):
    """A picture of a marker lying level at a height over the table."""
    kind = cv2.aruco.getPredefinedDictionary(DICTIONARIES[tag.dictionary])
    cells, texture = 8, 480
    white = texture // cells
    page = np.full((texture + 2 * white,) * 2, 255, np.uint8)
    page[white:-white, white:-white] = cv2.aruco.generateImageMarker(kind, tag.number, texture)
    side = tag.edge_m * (texture + 2 * white) / texture
    square = np.array([[-1, 1, 1], [1, 1, 1], [1, -1, 1], [-1, -1, 1]], float)
    corners = box_pixels.box_corners(
        np.array([0.52, -0.03, yaw]), np.array([side, side, height_m]), square, TABLE_M
    )
    seen = view().pixels(corners, NOTHING).astype(np.float32)
    big = page.shape[0]
    ends = np.array([[0, 0], [big, 0], [big, big], [0, big]], np.float32) - 0.5
    shift = np.float32([[4, 0, 1.5], [0, 4, 1.5], [0, 0, 1]])  # 4 samples a pixel, then averaged
    warp = shift @ cv2.getPerspectiveTransform(ends, seen)
    large = cv2.warpPerspective(page, warp, (2560, 1920), borderValue=130, flags=cv2.INTER_AREA)
    frame = large.reshape(480, 4, 640, 4).mean(axis=(1, 3)).astype(np.uint8)
    return np.repeat(frame[..., None], 3, axis=-1)


def test_a_marker_on_top_tells_the_height():
    tag = Tag(number=7, edge_m=0.04)
    frame = tagged_frame(0.06, tag)
    corners = box_pixels.tag_corners(frame, tag)
    (found,) = box_pixels.tag_height("box", {"box_00": (view(), tag, corners)})
    assert found.axis == 2
    assert abs(found.value_m - 0.06) < 2.5 * found.std_m
    assert 1e-4 < found.std_m < 0.008
    exact = view().pixels(tag_points(0.06, tag), NOTHING)
    np.testing.assert_allclose(corners, exact, atol=0.15)
    assert box_pixels.tag_corners(frame, Tag(number=8, edge_m=0.04)) is None


def test_a_marker_of_another_size_is_noticed_by_its_pixels():
    tag = Tag(number=7, edge_m=0.04, up="x")
    corners = box_pixels.tag_corners(tagged_frame(0.06, tag), tag)
    (found,) = box_pixels.tag_height("box", {"box_00": (view(), tag, corners)})
    assert found.axis == 0
    tilted = corners + np.array([[0, 0], [0, 0], [9, 6], [0, 0]])
    with pytest.raises(CalibrationError, match="box_00: marker 7 does not lie level"):
        box_pixels.tag_height("box", {"box_00": (view(), tag, tilted)})
    with pytest.raises(ValueError, match="in metres"):
        Tag(number=1, edge_m=40.0)


def depth_picture(place, size, *, noise_mm=0.0, seed=0):
    """Depth (mm) of a table with one box, by tracing every pixel's ray."""
    seen = view()
    v, u = np.mgrid[0:480, 0:640]
    rays = seen.rays(np.column_stack([u.ravel(), v.ravel()]).astype(float))
    eye, optical = seen.T_base_camera[:3, 3], seen.T_base_camera[:3, 2]
    c, s = np.cos(place[2]), np.sin(place[2])
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    start = (eye - [place[0], place[1], TABLE_M]) @ turned
    ahead = rays @ turned
    low, high = (
        np.array([-size[0] / 2, -size[1] / 2, 0]),
        np.array([size[0] / 2, size[1] / 2, size[2]]),
    )
    with np.errstate(divide="ignore"):
        one, other = (low - start) / ahead, (high - start) / ahead
    enter, leave = np.minimum(one, other).max(axis=-1), np.maximum(one, other).min(axis=-1)
    table = np.where(rays[:, 2] < 0, (TABLE_M - eye[2]) / np.minimum(rays[:, 2], -1e-9), np.inf)
    distance = np.where((enter < leave) & (enter > 0), np.minimum(enter, table), table)
    millimetres = 1000 * distance * (rays @ optical)
    millimetres += np.random.default_rng(seed).normal(0, max(noise_mm, 1e-9), millimetres.shape)
    millimetres[~(millimetres < 3000)] = 0
    return np.rint(millimetres).astype(np.uint16).reshape(480, 640)


@pytest.mark.parametrize(("yaw", "noise_mm"), [(0.0, 0.0), (0.5, 1.0), (-0.6, 1.0)])
def test_a_box_in_depth(yaw, noise_mm):
    size, place = (0.08, 0.05, 0.045), (0.5, -0.02, yaw)
    depth = depth_picture(place, size, noise_mm=noise_mm)
    spot = view().pixels(np.array([[place[0], place[1], TABLE_M + size[2]]]), NOTHING)[0]
    box = box_depth.box_in_depth("box_00", view(), depth, tuple(spot), yaw + 0.2)
    np.testing.assert_allclose(box.size_m, size, atol=0.0025)
    assert (np.abs(box.size_m - size) < 2.6 * box.std_m).all()
    np.testing.assert_allclose(box.place[:2], place[:2], atol=0.002)
    (x, y, z) = box_depth.estimates("box", [box, box])
    assert (x.axis, y.axis, z.axis) == (0, 1, 2)


def test_depth_that_cannot_be_is_named():
    depth = depth_picture((0.5, 0.0, 0.0), (0.05, 0.05, 0.05))
    spot = tuple(view().pixels(np.array([[0.5, 0.0, TABLE_M + 0.05]]), NOTHING)[0])
    bare = tuple(view().pixels(np.array([[0.35, 0.05, TABLE_M]]), NOTHING)[0])
    for picture, pixel, what in (
        (np.zeros_like(depth), spot, "no depth at pixel"),
        (depth[:240], spot, "aligned to colour"),
        (depth // 10, spot, "no table within 30 mm"),
        (depth_picture((0.2, 0.4, 0.0), (0.01, 0.01, 0.005)), bare, "stand out of the table"),
    ):
        with pytest.raises(CalibrationError, match=f"box_00: .*{what}"):
            box_depth.box_in_depth("box_00", view(), picture, pixel, 0.0)


def test_methods_are_weighed_and_contradictions_told():
    common = {"object": "box", "axis": 0, "degrees": 5.0}
    one = SizeEstimate(value_m=0.050, std_m=0.001, source="clicks", **common)
    other = SizeEstimate(value_m=0.053, std_m=0.0005, source="depth", **common)
    (found,), notes = combined([one, other])
    assert found.value_m == pytest.approx(0.0524)
    assert found.std_m < 0.0005
    assert not notes
    far = SizeEstimate(value_m=0.07, std_m=0.0005, source="depth", **common)
    assert "more than their uncertainties" in combined([one, far])[1][0]


def test_captures_are_kept_and_read_again(tmp_path):
    folder = ObjectFolder(tmp_path / "objects")
    frame = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    capture = ObjectCapture(
        object="cube", camera="front", clicks=clicked((0.5, 0, 0.1), (0.05, 0.05, 0.05))
    )
    assert folder.add(capture, frame) == "cube_00"
    spot = ObjectCapture(object="cube", camera="front", depth=DepthSpot(pixel=(3.0, 4.0)))
    depth = np.full((8, 9), 700, np.uint16)
    assert folder.add(spot, frame, depth) == "cube_01"
    assert folder.capture("cube_00") == capture
    np.testing.assert_array_equal(folder.frame("cube_01"), frame)
    np.testing.assert_array_equal(folder.depth_mm("cube_01"), depth)
    with pytest.raises(CalibrationError, match="cube_00_depth"):
        folder.depth_mm("cube_00")
    with pytest.raises(CalibrationError, match="needs a depth picture"):
        folder.add(spot, frame)
    with pytest.raises(ValueError, match="one of clicks"):
        ObjectCapture(object="cube", camera="front")
