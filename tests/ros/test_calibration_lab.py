"""The simulated lab's side of calibration: its board, its unmeasured labs, and the grading."""

import dataclasses

import numpy as np
import pytest
from rlco.lab import cli, grade, grading
from rlco.lab.board_view import BoardView, drawn_mounts
from rlco.lab.draw import draw_lab
from rlco.lab.unmeasured import unmeasure
from rlco_calibration.board import Board
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import Lens, board_pose
from rlco_calibration.results import CameraResult, Quantities, Quantity
from rlco_calibration.twin import TwinError, demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.frames import inverse, pose_matrix

TWIN = load_twin(demo_bench())
BOARD = Board()
CAMERA = dataclasses.replace(
    TWIN.cameras[0], distortion=(0.05, -0.03, 0.0005, -0.0005, 0.0), noise_std=3.0
)
FRAME = np.full((240, 320, 3), 120, np.uint8)


def facing(distance_m):
    """A board before the camera, its middle in the middle of the frame, seen from its front."""
    offset = pose_matrix(np.array([0, 0, distance_m]) - BOARD.centre_m, np.eye(3))
    return CAMERA.T_base_camera @ offset


@pytest.mark.parametrize("distance_m", [0.35, 0.45])
def test_the_drawn_board_is_found_where_it_was_put(distance_m):
    pose = facing(distance_m)
    view = BoardView(CAMERA, TWIN.lighting, BOARD)
    found = BOARD.detect(view.draw(FRAME, pose, np.random.default_rng(0)))
    assert len(found) == 12
    lens = Lens(
        size=(320, 240), fx=CAMERA.fx, fy=CAMERA.fy, cx=CAMERA.cx, cy=CAMERA.cy,
        distortion=CAMERA.distortion,
    )  # fmt: skip
    seen, rms = board_pose(BOARD.corners_m[found.ids], found.pixels, lens)
    assert rms < 0.4
    np.testing.assert_allclose(seen, inverse(CAMERA.T_base_camera) @ pose, atol=0.01)


def test_the_back_of_the_board_and_a_board_behind_the_camera_are_not_drawn():
    view = BoardView(CAMERA, TWIN.lighting, BOARD)
    turned = facing(0.4) @ pose_matrix([BOARD.size_m[0], 0, 0], np.diag([-1.0, 1.0, -1.0]))
    for pose in (turned, facing(-0.4)):
        np.testing.assert_array_equal(view.draw(FRAME, pose, np.random.default_rng(0)), FRAME)


def test_an_unmeasured_lab_differs_in_what_a_ruler_measures_too():
    drawn = draw_lab(TWIN, seed=4)
    lab = unmeasure(drawn, seed=4)
    assert lab.hidden
    assert lab.cameras[0].fx != drawn.cameras[0].fx
    assert any(lab.cameras[0].distortion)
    assert lab.table.height_m != drawn.table.height_m
    assert lab.arm.damping != drawn.arm.damping
    assert lab == unmeasure(drawn, seed=4)
    assert lab != unmeasure(drawn, seed=5)


def test_mounts_are_the_labs_own_and_stay():
    one, other = (unmeasure(draw_lab(TWIN, seed=seed), seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(
        drawn_mounts(one, BOARD).T_tcp_board, drawn_mounts(one, BOARD).T_tcp_board
    )
    moved = drawn_mounts(one, BOARD).T_tcp_board - drawn_mounts(other, BOARD).T_tcp_board
    assert np.abs(moved).max() > 1e-3
    on_table = drawn_mounts(one, BOARD).T_base_board
    assert on_table[2, 2] == pytest.approx(-1.0)


def results_of(folder, hidden, *, off_m=0.0, std_m=0.001):
    camera = hidden.cameras[0]
    x, y, z = camera.position_m
    spec.save(
        CameraResult(
            camera=camera.name,
            setup="eye_to_hand",
            position_m=(x + off_m, y, z),
            quaternion_wxyz=camera.quaternion_wxyz,
            position_std_m=(std_m,) * 3,
            rotation_std_rad=(1e-3,) * 3,
            degrees=20.0,
            lens=Lens(size=(320, 240), fx=camera.fx, fy=camera.fy, cx=160.0, cy=120.0),
            lens_std=(1.0,) * 9,
            rms_px=0.2,
            left_out_px=0.2,
            captures=20,
            baselines_m={"tsai": (x + 0.01, y, z)},
            baselines_wxyz={"tsai": camera.quaternion_wxyz},
        ),
        folder / "results" / "camera_third_person.yaml",
    )
    stiffness = hidden.arm.stiffness
    spec.save(
        Quantities(
            quantities=(
                Quantity(
                    name="arm.stiffness",
                    value=1.1 * stiffness,
                    std=1.0,
                    low=stiffness - 1,
                    high=2 * stiffness,
                    source="test",
                ),
            )
        ),
        folder / "results" / "arm.yaml",
    )


def test_marks_are_the_distance_to_the_truth(tmp_path):
    hidden = unmeasure(draw_lab(TWIN, seed=3), seed=3)
    results_of(tmp_path, hidden, off_m=0.002)
    found = {mark.name: mark for mark in grade.marks(tmp_path, hidden)}
    assert found["camera position"].error == pytest.approx(2.0)
    assert found["camera position"].inside == (True, True, True)
    assert found["camera position, OpenCV tsai alone"].error == pytest.approx(10.0)
    assert found["stiffness"].error == pytest.approx(10.0)
    lines, passed = grade.table([list(found.values())])
    assert passed
    assert any("camera position | 2.00 mm" in line for line in lines)


def test_an_error_beyond_its_bound_fails(tmp_path):
    hidden = unmeasure(draw_lab(TWIN, seed=3), seed=3)
    results_of(tmp_path, hidden, off_m=0.004, std_m=0.01)
    lines, passed = grade.table([grade.marks(tmp_path, hidden)] * 3)
    assert not passed
    assert "9 of 9" in next(line for line in lines if "camera position |" in line)


def test_intervals_that_do_not_hold_the_truth_fail():
    marks = [
        grade.Mark(name="camera position", error=0.5, inside=(True, False)),
        grade.Mark(name="table height", error=0.1, inside=(True,)),
    ]
    _, passed = grade.table([marks] * 3)
    assert not passed


def test_the_training_side_refuses_an_unmeasured_lab(tmp_path):
    spec.save(unmeasure(draw_lab(TWIN, seed=1), seed=1), tmp_path / "hidden.yaml")
    with pytest.raises(TwinError, match="hidden"):
        load_twin(tmp_path / "hidden.yaml")


def test_a_lab_that_is_refused_is_told_and_fails_the_others_keep_their_table(
    tmp_path, monkeypatch, capsys
):
    def calibrate_and_grade(plan, seed, folder, say):
        if seed == 2:
            raise CalibrationError("the captures do not fit together")
        return [grade.Mark(name="table height", error=0.1, inside=(True,))]

    monkeypatch.setattr(grading, "calibrate_and_grade", calibrate_and_grade)
    with pytest.raises(SystemExit) as stop:
        cli.run(cli.Grade(out=tmp_path, labs=3))
    assert stop.value.code == 1
    told = capsys.readouterr().out
    assert "2 hidden labs" in told
    assert "lab 2 was refused: the captures do not fit together" in told
    assert (tmp_path / "table.md").read_text() == told
