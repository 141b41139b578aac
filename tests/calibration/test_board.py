import cv2
import numpy as np
import pytest
from rlco_calibration import board_pdf
from rlco_calibration.board import Board, measured
from rlco_calibration.errors import CalibrationError

BOARD = Board()


def scene(board=BOARD, pixels=40, margin=60):
    picture = board.picture(pixels)
    return np.pad(picture, margin, constant_values=230)


def test_every_corner_is_found_where_it_is():
    found = BOARD.detect(scene())
    assert sorted(found.ids) == list(range((BOARD.columns - 1) * (BOARD.rows - 1)))
    expected = BOARD.corners_m[found.ids, :2] / BOARD.square_m * 40 + 60 - 0.5
    np.testing.assert_allclose(found.pixels, expected, atol=0.3)
    assert BOARD.usable(found)
    assert found.sharpness < 2


def test_an_empty_frame_has_no_board_and_no_excuse():
    frame = np.full((240, 320, 3), 90, np.uint8)
    found = BOARD.detect(frame)
    assert len(found) == 0
    assert not BOARD.usable(found)
    assert BOARD.wrong_way(frame) == ""


def test_a_mirrored_frame_is_named():
    assert "mirrored" in BOARD.wrong_way(np.ascontiguousarray(scene()[:, ::-1]))


def test_another_dictionary_is_named():
    other = Board(dictionary="5X5_50")
    reason = BOARD.wrong_way(scene(other))
    assert "5X5_50" in reason
    assert "4X4_50" in reason


def test_a_board_upside_down_is_the_same_board():
    found = BOARD.detect(np.ascontiguousarray(scene()[::-1, ::-1]))
    assert len(found) == 12
    assert found.pixels[np.argmin(found.ids)][0] > found.pixels[np.argmax(found.ids)][0]


def test_blur_shows_in_the_sharpness():
    blurred = cv2.blur(scene(), (5, 1))
    found = BOARD.detect(blurred)
    assert len(found) > 4
    assert found.sharpness > 2 * BOARD.detect(scene()).sharpness


def test_corners_in_a_line_are_not_usable():
    found = BOARD.detect(scene())
    assert not BOARD.usable(found.only(found.ids < 4))


def test_the_printed_board_is_scaled_by_what_the_ruler_says():
    printed = measured(BOARD, nominal_bar_m=0.15, measured_bar_m=0.1485)
    assert printed.square_m == pytest.approx(0.0495)
    assert printed.marker_m == pytest.approx(0.038 * 0.99)


@pytest.mark.parametrize("bar_m", [0.120, 149.0, 0.00015])
def test_an_impossible_scale_is_refused(bar_m):
    with pytest.raises(CalibrationError, match="scale bar"):
        measured(BOARD, nominal_bar_m=0.15, measured_bar_m=bar_m)


@pytest.mark.parametrize(
    ("change", "what"),
    [({"square_m": 50.0, "marker_m": 38.0}, "metres"), ({"marker_m": 0.06}, "smaller"),
     ({"columns": 2}, "at least"), ({"dictionary": "9X9"}, "unknown")],
)  # fmt: skip
def test_an_impossible_board_is_refused(change, what):
    with pytest.raises(ValueError, match=what):
        Board(**change)


def test_the_page_is_drawn_from_blocks_that_are_the_picture():
    picture = BOARD.picture(board_pdf.PIXELS)
    drawn = np.zeros_like(picture, bool)
    for (column, row), (columns, rows) in board_pdf.dark_blocks(picture):
        assert not drawn[row : row + rows, column : column + columns].any()
        drawn[row : row + rows, column : column + columns] = True
    np.testing.assert_array_equal(drawn, picture < 128)


def test_the_page_has_its_true_size(tmp_path):
    board_pdf.write(BOARD, tmp_path / "board.pdf")
    data = (tmp_path / "board.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    box = data.split(b"/MediaBox")[1].split(b"[")[1].split(b"]")[0].split()
    np.testing.assert_allclose([float(v) / 72 * 25.4 for v in box], [0, 0, 297, 210], atol=0.1)


def test_a_board_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match="do not fit"):
        board_pdf.write(Board(columns=8), tmp_path / "board.pdf")
