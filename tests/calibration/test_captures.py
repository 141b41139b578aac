import dataclasses

import cv2
import numpy as np
import pytest
from fakes.synthetic_captures import SyntheticBench
from rlco_calibration.captures import Capture, CaptureFolder, CaptureRecord, Session
from rlco_calibration.errors import CalibrationError
from rlco_calibration.handeye import View
from rlco_calibration.problems import _error, disagreement, examine
from rlco_datasets.frames import inverse, pose_matrix
from rlco_datasets.spec import SpecError

SHAPE = (240, 320, 3)


def frame_with(board, pixels=30, place=(20, 40)):
    frame = np.full(SHAPE, 200, np.uint8)
    picture = np.pad(board.picture(pixels), 8, constant_values=240)
    top, left = place
    frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture[..., None]
    return frame


def capture(number, frame, position=(0.5, 0.0, 0.3), **changes):
    stamp = (number + 1) * 1_000_000_000
    record = CaptureRecord(
        frame_stamp_ns=stamp,
        pose_stamp_ns=stamp,
        position_m=position,
        quaternion_wxyz=(0.0, 1.0, 0.0, 0.0),
    )
    return Capture(name=f"{number:06d}", frame=frame, record=dataclasses.replace(record, **changes))


@pytest.fixture
def session():
    return Session(camera="front", board=SyntheticBench().board, board_place="gripper")


def test_captures_come_back_as_they_were_kept(tmp_path, session):
    rng = np.random.default_rng(0)
    folder = CaptureFolder(tmp_path, session)
    frame = rng.integers(0, 255, SHAPE, dtype=np.uint8)
    pose = pose_matrix([0.5, -0.1, 0.3], np.diag([1.0, -1.0, -1.0]))
    folder.add(frame, pose, frame_stamp_ns=5, pose_stamp_ns=4, moved_m=1e-4)
    again = CaptureFolder.open(tmp_path)
    (found,) = again.captures()
    np.testing.assert_array_equal(found.frame, frame)
    np.testing.assert_allclose(found.record.T_base_tcp, pose, atol=1e-12)
    assert again.session == session
    assert again.numbers == {0}


def test_a_capture_that_was_cut_off_is_not_there(tmp_path, session):
    folder = CaptureFolder(tmp_path, session)
    folder.add(np.zeros(SHAPE, np.uint8), np.eye(4), frame_stamp_ns=1, pose_stamp_ns=1)
    (tmp_path / "000001.png").write_bytes(b"half a picture")
    assert len(CaptureFolder.open(tmp_path)) == 1
    assert folder.add(np.zeros(SHAPE, np.uint8), np.eye(4), frame_stamp_ns=2, pose_stamp_ns=2) == (
        "000001"
    )


def test_a_folder_of_another_board_is_refused(tmp_path, session):
    CaptureFolder(tmp_path, session)
    other = dataclasses.replace(session, camera="side")
    with pytest.raises(CalibrationError, match="camera"):
        CaptureFolder(tmp_path, other)


def test_a_damaged_picture_is_named(tmp_path, session):
    folder = CaptureFolder(tmp_path, session)
    folder.add(np.zeros(SHAPE, np.uint8), np.eye(4), frame_stamp_ns=1, pose_stamp_ns=1)
    (tmp_path / "000000.png").write_bytes(b"")
    with pytest.raises(CalibrationError, match="000000"):
        folder.captures()
    (tmp_path / "session.yaml").write_text("camera: 3")
    with pytest.raises(SpecError):
        CaptureFolder.open(tmp_path)


def test_bad_captures_are_named_and_the_good_ones_kept():
    board = SyntheticBench().board
    good = frame_with(board)
    found = examine(
        board,
        [
            capture(0, good),
            capture(1, np.full(SHAPE, 128, np.uint8)),
            capture(2, cv2.blur(good, (11, 1))),
            capture(3, good, moved_m=0.004),
            capture(4, good, pose_stamp_ns=0),
            capture(5, good, frame_stamp_ns=1),
            capture(6, np.ascontiguousarray(good[:, ::-1])),
            capture(7, good),
        ],
    )
    assert found.names == ("000000", "000007")
    named = {trouble.captures[0]: trouble.name for trouble in found.troubles}
    assert named["000001"] == "no board"
    assert named["000002"] in ("blur", "no board")
    assert named["000003"] == "moving"
    assert named["000004"] == "stamps"
    assert named["000005"] == "stamps"
    assert any("mirrored" in str(t) for t in found.troubles if t.captures == ("000006",))


def test_millimetres_are_named():
    board = SyntheticBench().board
    with pytest.raises(CalibrationError, match="millimetres"):
        examine(board, [capture(0, frame_with(board), position=(500.0, 0.0, 300.0))])


def judge(bench, views, setup=None, lens=None):
    names = [f"{i:06d}" for i in range(len(views))]
    setup, lens = setup or bench.setup, lens or bench.lens
    return disagreement(bench.board, names, views, lens, setup, model="k1k2p1p2")


def test_good_views_have_no_trouble():
    bench = SyntheticBench(seed=3)
    assert judge(bench, bench.views(14)) is None


def test_good_views_through_a_mistaken_lens_have_no_trouble():
    bench = SyntheticBench(seed=3)
    mistaken = dataclasses.replace(bench.lens, fx=1.03 * bench.lens.fx, fy=1.03 * bench.lens.fy)
    views = bench.views(14)
    assert _error(bench.board, views, mistaken, bench.setup)[0] > 2.5 * 0.15
    assert judge(bench, views, lens=mistaken) is None


def test_poses_of_other_moments_than_the_frames_disagree():
    bench = SyntheticBench(seed=3, pose_noise_m=0.01)
    assert judge(bench, bench.views(14)).name == "disagreement"


def test_poses_the_wrong_way_round_are_named():
    bench = SyntheticBench(seed=3)
    views = [View(T_base_tcp=inverse(v.T_base_tcp), detection=v.detection) for v in bench.views(12)]
    assert judge(bench, views).name == "swapped frames"


def test_a_board_of_another_size_is_named_with_its_size():
    bench = SyntheticBench(seed=4)
    trouble = judge(bench, bench.views(14, scale=0.96))
    assert trouble.name == "board size"
    assert "48.0 mm" in trouble.message


def test_a_camera_that_moved_between_captures_is_named_with_the_moment():
    bench = SyntheticBench(seed=5)
    views = bench.views(10)
    bench.X = bench.X.copy()
    bench.X[:3, 3] += [0.03, 0.0, 0.02]
    trouble = judge(bench, views + bench.views(10))
    assert trouble.name == "moved camera"
    assert "000009 and 000010" in trouble.message


def test_a_board_that_slipped_in_the_hand_is_named():
    bench = SyntheticBench(seed=6)
    views = bench.views(10)
    bench.Y = bench.Y @ pose_matrix([0.03, 0.02, 0.0], np.eye(3))
    trouble = judge(bench, views + bench.views(10))
    assert trouble.name == "moved board"
