"""Messages to and from numpy, in this process."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import demo_bench, load_twin
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")

from rlco.nodes import wire
from rlco_datasets.frames import pose_matrix

TWIN = load_twin(demo_bench())
seeds = st.integers(0, 2**31)


def random_pose(seed):
    rng = np.random.default_rng(seed)
    return pose_matrix(rng.uniform(-1, 1, 3), Rotation.random(rng=rng).as_matrix())


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_go_there_and_back(nanoseconds):
    assert wire.stamp_ns(wire.time_message(nanoseconds)) == nanoseconds


@given(seeds)
def test_poses_go_there_and_back(seed):
    pose = random_pose(seed)
    message = wire.stamped_pose(pose, 5)
    assert message.header.frame_id == "base"
    np.testing.assert_allclose(wire.pose_matrix(message.pose), pose, atol=1e-12)


@given(seeds)
def test_an_initial_condition_is_the_same_bit_for_bit(seed):
    condition = sample(TWIN, "pick_and_place", np.random.default_rng(seed), "c")
    assert wire.initial_condition(wire.initial_condition_message(condition)) == condition


@given(st.integers(1, 9), st.integers(1, 9), seeds)
def test_images_go_there_and_back(height, width, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    message = wire.image_message(frame, "camera", 7)
    np.testing.assert_array_equal(wire.image_array(message), frame)
    message.encoding = "bgr8"
    np.testing.assert_array_equal(wire.image_array(message), frame[..., ::-1])


def test_padded_rows_are_read():
    message = wire.image_message(np.zeros((2, 3, 3), np.uint8), "camera", 0)
    message.data = bytes(range(2 * 12))
    message.step = 12
    assert wire.image_array(message)[1, 0].tolist() == [12, 13, 14]


def test_an_image_that_is_not_what_it_says_is_refused():
    message = wire.image_message(np.zeros((2, 3, 3), np.uint8), "camera", 0)
    message.width = 4
    with pytest.raises(wire.WireError, match="image of 4x2 with step 9 has 18 bytes"):
        wire.image_array(message)
    message.encoding = "yuv422"
    with pytest.raises(wire.WireError, match="set the camera driver to rgb8"):
        wire.image_array(message)


def test_the_gripper_is_a_width_as_a_command_and_two_fingers_as_a_state():
    assert wire.gripper_target_width_m(wire.gripper_target(0.03, 1)) == 0.03
    fingers = wire.fingers(0.06, 1)
    assert list(fingers.position) == [0.03, 0.03]
    assert wire.finger_width_m(fingers) == pytest.approx(0.06)
    with pytest.raises(wire.WireError, match="one name, 'gripper_width'"):
        wire.gripper_target_width_m(fingers)
    with pytest.raises(wire.WireError, match="expected two finger joints"):
        wire.finger_width_m(wire.gripper_target(0.03, 1))


def test_a_pose_that_is_not_finite_or_not_a_rotation_is_refused():
    message = wire.pose_message(random_pose(0))
    message.position.x = float("nan")
    with pytest.raises(ValueError, match="non-finite"):
        wire.pose_matrix(message)
    message = wire.pose_message(random_pose(0))
    message.orientation.w += 0.1
    with pytest.raises(ValueError, match="norm"):
        wire.pose_matrix(message)


def test_intrinsics_and_objects():
    info = wire.camera_info(TWIN.cameras[0], "camera", 3)
    np.testing.assert_array_equal(np.reshape(info.k, (3, 3)), TWIN.cameras[0].intrinsics)
    pose = random_pose(1)
    markers = wire.object_markers({"cube": pose}, {"cube": (0.04, 0.04, 0.0)}, 3)
    (marker,) = markers.markers
    assert marker.ns == "cube"
    assert wire.stamp_ns(marker.header.stamp) == 3
    np.testing.assert_allclose(wire.pose_matrix(marker.pose), pose, atol=1e-12)


def test_names_and_poses_must_match():
    condition = sample(TWIN, "pick_and_place", np.random.default_rng(0), "c")
    message = wire.initial_condition_message(condition)
    message.object_names = ["cube"]
    with pytest.raises(wire.WireError, match="1 names for 2 poses"):
        wire.initial_condition(message)
