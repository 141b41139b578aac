"""A camera on the hand: poses over a board on the table, captures of a simulated lab, its pose."""

from dataclasses import replace

import numpy as np
import pytest
from fake_scene import FakeScene
from rlco.lab.bench import SimulatedBench
from rlco.lab.board_view import drawn_mounts
from rlco.lab.port import LabBoard, LabPort
from rlco.parameters import CaptureParameters, ParameterError
from rlco_calibration import plan
from rlco_calibration.board import Board
from rlco_calibration.captures import CaptureFolder
from rlco_calibration.gather import Gatherer
from rlco_calibration.handeye import perturbed
from rlco_calibration.initial_states import sample
from rlco_calibration.results import CameraResult
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact
from rlco_datasets.frames import inverse, quaternion_wxyz
from scipy.spatial.transform import Rotation

TWIN = load_twin(demo_bench())
BOARD = Board()
COUNT = 14
ROUGH = replace(
    TWIN.cameras[0],
    name="wrist",
    position_m=(0.06, 0.0, -0.05),
    quaternion_wxyz=tuple(quaternion_wxyz(Rotation.from_euler("z", 90, degrees=True).as_matrix())),
    distortion=(0.0,) * 5,
    noise_std=1.0,
)
"""What is thought of the camera before: its pose is in the TCP's frame."""
OFF = np.array([0.04, -0.03, 0.05, 0.006, -0.008, 0.005])
TRUE_POSE = perturbed(ROUGH.T_base_camera, OFF)
TRUE = replace(
    ROUGH,
    position_m=tuple(TRUE_POSE[:3, 3]),
    quaternion_wxyz=tuple(quaternion_wxyz(TRUE_POSE[:3, :3])),
    fx=ROUGH.fx * 1.01,
    fy=ROUGH.fy * 1.01,
    distortion=(0.05, -0.03, 0.0005, -0.0005, 0.0),
)


@pytest.fixture
def port():
    def build(task):
        scene = FakeScene(franka_compact())
        scene.reset(sample(TWIN, task, np.random.default_rng(0), "start"))
        return SimulatedBench(scene, franka_compact(), start_ns=1)

    return LabPort(TWIN, build, "pick_and_place", LabBoard(TWIN, BOARD, on_hand=(TRUE,)))


def test_poses_look_down_at_the_board_from_inside_the_workspace():
    lying = plan.nominal_lying(BOARD, 0.0)
    guess = plan.Guess(setup="eye_in_hand", lens=ROUGH.lens, X=ROUGH.T_base_camera, Y=lying)
    rng = np.random.default_rng(0)
    poses = plan.suggest(BOARD, guess, TWIN.workspace, COUNT, rng)
    assert len(poses) == COUNT
    for pose in poses:
        assert (pose[:3, 3] > TWIN.workspace.low_m).all()
        assert (pose[:3, 3] < TWIN.workspace.high_m).all()
        assert pose[2, 3] > plan.OVER_BOARD_M
        camera_board = inverse(pose @ guess.X) @ lying
        middle = camera_board[:3, :3] @ BOARD.centre_m + camera_board[:3, 3]
        assert middle[2] > 0
        assert np.linalg.norm(middle[:2]) < 0.3 * middle[2]


def test_a_camera_on_the_hand_of_a_simulated_lab_is_measured(port, tmp_path):
    said = []
    walk = Walk(tmp_path, TWIN, said.append)
    gatherer = Gatherer(port, walk, said.append)
    gatherer.captures_on_hand(ROUGH, BOARD, count=COUNT)
    folder = CaptureFolder.open(tmp_path / "captures" / "wrist")
    assert folder.session.on_hand
    assert len(folder) == COUNT
    walk.cameras()
    result = spec.load(CameraResult, tmp_path / "results" / "camera_wrist.yaml")
    assert result.setup == "eye_in_hand"
    assert np.linalg.norm(result.pose[:3, 3] - TRUE_POSE[:3, 3]) < 0.003
    turn = Rotation.from_matrix(result.pose[:3, :3] @ TRUE_POSE[:3, :3].T).magnitude()
    assert np.degrees(turn) < 0.3
    assert result.lens.fx == pytest.approx(TRUE.fx, rel=0.005)
    assert any("in the TCP's frame" in line for line in said)
    assert walk.twin().cameras == TWIN.cameras
    gatherer.captures_on_hand(ROUGH, BOARD, count=COUNT)
    assert said[-1] == f"wrist: {COUNT} captures are there already"


def test_the_camera_on_the_hand_sees_the_board_only_where_it_lies(port):
    over = drawn_mounts(TWIN, BOARD).T_base_board
    middle = over[:3, :3] @ BOARD.centre_m + over[:3, 3]
    here = np.eye(4)
    here[:3, :3] = over[:3, :3]
    here[:3, 3] = middle + np.array([0, 0, 0.4])
    port.command(here @ inverse(TRUE_POSE), 0.04)
    for place, corners in (("none", 0), ("gripper", 0), ("table", 12)):
        port.place_board(place)
        assert len(BOARD.detect(port.frame("wrist")[1])) == corners
    assert port.frame("third_person")[1].shape == (240, 320, 3)


def test_which_cameras_capture_the_board():
    pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
    from rlco.nodes.capture import cameras_of

    names = ("front", "wrist")
    assert cameras_of(names, (), lying=False) == names
    assert cameras_of(names, ("wrist",), lying=False) == ("front",)
    assert cameras_of(names, ("wrist",), lying=True) == ("wrist",)
    with pytest.raises(ValueError, match="no camera 'hand'"):
        cameras_of(names, ("hand",), lying=True)
    with pytest.raises(ValueError, match="all are on the hand"):
        cameras_of(names, names, lying=False)
    with pytest.raises(ParameterError, match="name the cameras on the hand"):
        CaptureParameters(folder="work", board_place="table")
    assert CaptureParameters(folder="work", on_hand="a, b").cameras_on_hand == ("a", "b")
