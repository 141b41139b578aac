"""The arm's outline and mask against a real frame: drawn shapes with known shifts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_calibration.check_camera import _images
from rlco_calibration.check_limits import Thresholds
from rlco_calibration.outline import ARM, MOVABLE, align

SHAPE = (240, 320)


def labels_of_an_arm():
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:150, 120:190] = ARM
    labels[100:180, 150:170] = ARM
    return labels


def real_frame(dx=0, dy=0, *, arm=200, seed=0, clutter=True):
    """Draw the arm shifted by whole pixels, with noise and things that the twin does not know."""
    rng = np.random.default_rng(seed)
    frame = np.full((*SHAPE, 3), (150, 120, 90), np.uint8)
    frame[np.roll(labels_of_an_arm(), (dy, dx), (0, 1)) == ARM] = arm
    if clutter:
        frame[200:230, 40:80] = (200, 30, 30)
        frame[195:215, 220:260] = (20, 120, 40)
    noisy = frame + rng.normal(0, 3, frame.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@settings(max_examples=12, deadline=None)
@given(st.integers(-6, 6), st.integers(0, 5))
def test_a_shift_along_the_normal_is_measured_to_half_a_pixel(shift, seed):
    # the long sides' offsets along their outward normals are +shift and -shift
    found = align(real_frame(dx=shift, seed=seed), labels_of_an_arm())
    sides = np.sort(np.abs(found.offsets_px))
    vertical = sides[len(sides) // 2 :]
    assert np.median(vertical) == pytest.approx(abs(shift), abs=0.75)


def test_objects_elsewhere_and_other_colours_do_not_count():
    labels = labels_of_an_arm()
    labels[185:205, 90:120] = MOVABLE
    for colour in (40, 230):
        found = align(real_frame(arm=colour), labels)
        assert np.median(np.abs(found.offsets_px)) <= 0.5
        assert found.mask_missed < 0.05
        assert len(found.edges_px) == len(found.offsets_px)


def test_what_stands_before_the_arm_is_left_out():
    frame = real_frame()
    frame[90:190, 100:230] = 255
    board = np.array([[99, 89], [230, 89], [230, 190], [99, 190]], float)
    found = align(frame, labels_of_an_arm(), hidden_by=board)
    assert np.median(np.abs(found.offsets_px)) <= 0.5
    assert not found.twin_arm[90:190, 100:230].any()
    assert found.looked_at < align(frame, labels_of_an_arm()).looked_at


def test_an_arm_without_contrast_warns_and_a_wrong_one_fails():
    faint = align(real_frame(arm=(150, 120, 90), clutter=False), labels_of_an_arm())
    (verdict,) = _images("front", [faint], Thresholds(), "again")
    assert verdict.level == "warn"
    assert "stand out" in verdict.measured
    good = align(real_frame(), labels_of_an_arm())
    assert {v.level for v in _images("front", [good], Thresholds(), "again")} == {"pass"}
    wrong = align(real_frame(dx=5, dy=5), labels_of_an_arm())
    outline = _images("front", [wrong], Thresholds(), "again")[0]
    assert outline.level == "fail"
    assert "again" in str(outline)
