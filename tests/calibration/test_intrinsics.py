import cv2
import numpy as np
import pytest
from fakes.synthetic_captures import SyntheticBench
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_calibration import intrinsics
from rlco_calibration.board import Detection
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import Lens, board_pose, project


def detections(seed=0, count=20, **options):
    bench = SyntheticBench(setup="eye_in_hand", seed=seed, **options)
    return bench, [view.detection for view in bench.views(count)]


@settings(max_examples=25, deadline=None)
@given(
    point=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.3, 0.3), st.floats(0.5, 2.0)),
    lens=st.tuples(
        st.floats(200, 800), st.floats(200, 800), st.floats(100, 400), st.floats(100, 300),
        *[st.floats(-0.2, 0.2)] * 2, *[st.floats(-0.01, 0.01)] * 2, st.floats(-0.1, 0.1),
    ),
)  # fmt: skip
def test_projection_is_that_of_opencv(point, lens):
    lens = Lens.of(np.array(lens), (640, 480))
    theirs, _ = cv2.projectPoints(
        np.array([[point]]), np.zeros(3), np.zeros(3), lens.matrix, lens.coefficients
    )
    np.testing.assert_allclose(project(np.array(point), lens.vector), theirs.ravel(), atol=1e-6)


def test_the_lens_is_found_within_half_a_percent_and_its_interval():
    bench, views = detections(seed=2, count=24)
    found = intrinsics.calibrate(bench.board, views)
    assert abs(found.lens.fx / bench.lens.fx - 1) < 0.005
    assert found.rms_px < 0.3
    assert np.all(np.abs(found.lens.vector[:4] - bench.lens.vector[:4]) < 4 * found.std[:4])


def test_cross_validation_takes_the_simplest_model_that_suffices():
    straight = Lens(size=(640, 480), fx=600.0, fy=600.0, cx=320.0, cy=240.0)
    bench, views = detections(seed=3, lens=straight)
    assert intrinsics.calibrate(bench.board, views).model in ("pinhole", "k1")
    bent = Lens(
        size=(640, 480), fx=600.0, fy=600.0, cx=320.0, cy=240.0, distortion=(0.2, -0.3, 0, 0, 0)
    )
    bench, views = detections(seed=3, lens=bent)
    found = intrinsics.calibrate(bench.board, views)
    assert found.model in ("k1k2", "k1k2p1p2", "full")
    assert found.scores_px["pinhole"] > 1.2 * found.scores_px[found.model]


def test_a_bad_view_and_a_bad_corner_are_left_out():
    bench, views = detections(seed=4, count=16)
    clean = intrinsics.calibrate(bench.board, [v for i, v in enumerate(views) if i != 3])
    rng = np.random.default_rng(0)
    bad = views[3]
    views[3] = Detection(
        ids=bad.ids, pixels=bad.pixels + rng.normal(0, 5, bad.pixels.shape), size=bad.size
    )
    pixels = views[7].pixels.copy()
    pixels[2] += [9.0, -7.0]
    views[7] = Detection(ids=views[7].ids, pixels=pixels, size=bad.size)
    found = intrinsics.calibrate(bench.board, views)
    assert found.rejected_views == (3,)
    assert found.rejected_corners >= 1
    assert abs(found.lens.fx / clean.lens.fx - 1) < 0.005


def test_parallel_views_are_refused():
    bench, _ = detections()
    views = []
    for x in np.linspace(-0.15, 0.05, 4):
        for y in (-0.12, -0.08, -0.04):
            points = bench.board.corners_m + np.array([x, y, 0.6])
            views.append(
                Detection(
                    ids=np.arange(len(points)),
                    pixels=project(points, bench.lens.vector),
                    size=(640, 480),
                )
            )
    with pytest.raises(CalibrationError, match="same tilt"):
        intrinsics.calibrate(bench.board, views)


def test_too_few_views_are_refused():
    bench, views = detections(count=8)
    with pytest.raises(CalibrationError, match="8 are needed"):
        intrinsics.calibrate(bench.board, views[:7])


def test_advice_names_the_empty_part_of_the_frame_and_the_missing_tilt():
    bench, views = detections(seed=1, count=20)
    left = [v.only(v.pixels[:, 0] < 300) for v in views]
    left = [v for v in left if bench.board.usable(v)]
    advice = intrinsics.coverage(bench.board, left, bench.lens).advice()
    assert "right" in advice[0]


def test_factory_values_are_compared_in_sigmas():
    bench, views = detections(seed=2)
    found = intrinsics.calibrate(bench.board, views)
    same = intrinsics.compare(found.lens, found.std, bench.lens)
    assert all("agrees" in line for line in same)
    other = Lens.of(bench.lens.vector * [1.1, 1, 1, 1, 1, 1, 1, 1, 1], (640, 480))
    assert "differs" in intrinsics.compare(found.lens, found.std, other)[0]


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_pose_of_a_board_in_view_is_found(seed):
    bench = SyntheticBench(setup="eye_in_hand", seed=seed, noise_px=1e-6)
    view = bench.views(1)[0]
    pose, rms = board_pose(
        bench.board.corners_m[view.detection.ids], view.detection.pixels, bench.lens
    )
    assert rms < 1e-3
    np.testing.assert_allclose(pose, bench.camera_board(view.T_base_tcp), atol=1e-4)
