from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rlco_datasets.frames import (
    apply_delta,
    delta_between,
    inverse,
    look_at,
    pose_from_quaternion,
    pose_matrix,
    quaternion_wxyz,
    rotation_from_6d,
    rotation_from_vector,
    rotation_to_6d,
    rotation_vector,
    state_vector,
)
from scipy.spatial.transform import Rotation

metres = st.floats(-2, 2)


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    axis = draw(
        arrays(float, 3, elements=st.floats(-1, 1)).filter(lambda a: np.linalg.norm(a) > 0.1)
    )
    angle = draw(st.floats(-np.pi, np.pi))
    rotation = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix()
    return pose_matrix(draw(arrays(float, 3, elements=metres)), rotation)


deltas = st.tuples(
    arrays(float, 3, elements=metres),
    arrays(float, 3, elements=st.floats(-1.7, 1.7)),
).map(np.concatenate)


@given(pose=poses())
def test_inverse_undoes_a_pose(pose: np.ndarray) -> None:
    np.testing.assert_allclose(pose @ inverse(pose), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(inverse(inverse(pose)), pose, atol=1e-12)


@given(pose=poses())
def test_quaternions_round_trip_with_w_first_and_not_negative(pose: np.ndarray) -> None:
    quaternion = quaternion_wxyz(pose[:3, :3])
    assert quaternion[0] >= 0
    np.testing.assert_allclose(pose_from_quaternion(pose[:3, 3], quaternion), pose, atol=1e-9)


vectors = st.one_of(
    arrays(float, 3, elements=st.floats(-3.2, 3.2)),
    arrays(float, 3, elements=st.floats(-1e-3, 1e-3)),
    st.sampled_from([(np.pi, 0, 0), (0, -np.pi, 0), (0, 0, np.pi), (0, 0, 0)]).map(np.array),
)


@given(vector=vectors)
def test_one_rotation_at_a_time_is_what_scipy_makes_of_it(vector: np.ndarray) -> None:
    expected = Rotation.from_rotvec(vector)
    matrix = rotation_from_vector(vector)
    np.testing.assert_allclose(matrix, expected.as_matrix(), atol=1e-14)
    back = Rotation.from_rotvec(rotation_vector(matrix))
    assert (back * expected.inv()).magnitude() < 1e-7
    if expected.magnitude() < 3.14:
        np.testing.assert_allclose(rotation_vector(matrix), expected.as_rotvec(), atol=1e-11)
    w, x, y, z = expected.as_quat(scalar_first=True)
    np.testing.assert_allclose(
        pose_from_quaternion((0, 0, 0), (w, x, y, z))[:3, :3], expected.as_matrix(), atol=1e-14
    )
    quaternion = quaternion_wxyz(matrix)
    np.testing.assert_allclose(abs(quaternion @ (w, x, y, z)), 1, atol=1e-12)
    assert quaternion[0] >= 0


@given(batch=st.lists(poses(), min_size=1, max_size=3))
def test_one_at_a_time_and_batches_agree(batch: list[np.ndarray]) -> None:
    rotations = np.stack(batch)[:, :3, :3]
    together = rotation_vector(rotations)
    for index, rotation in enumerate(rotations):
        alone = rotation_vector(rotation)
        if np.linalg.norm(alone) < 3.14:
            np.testing.assert_allclose(together[index], alone, atol=1e-11)
    np.testing.assert_allclose(rotation_from_vector(together), rotations, atol=1e-9)
    np.testing.assert_allclose(
        state_vector(np.stack(batch), np.full(len(batch), 0.03))[0],
        state_vector(batch[0], 0.03),
    )


def test_the_quaternion_order_is_wxyz() -> None:
    quarter_turn_about_z = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    x_axis = pose_from_quaternion((1, 2, 3), quarter_turn_about_z) @ [1, 0, 0, 1]
    np.testing.assert_allclose(x_axis, [1, 3, 3, 1], atol=1e-12)


@given(pose=poses())
def test_6d_rotations_round_trip(pose: np.ndarray) -> None:
    six = rotation_to_6d(pose[:3, :3])
    np.testing.assert_allclose(six, [*pose[:3, 0], *pose[:3, 1]])
    np.testing.assert_allclose(rotation_from_6d(six), pose[:3, :3], atol=1e-12)


@given(six=arrays(float, 6, elements=st.floats(-3, 3)))
def test_any_6_numbers_give_a_rotation(six: np.ndarray) -> None:
    if np.linalg.norm(np.cross(six[:3], six[3:])) < 1e-3:
        return
    rotation = rotation_from_6d(six)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


@given(reference=poses(), delta=deltas)
def test_delta_between_undoes_apply_delta(reference: np.ndarray, delta: np.ndarray) -> None:
    target = apply_delta(reference, delta)
    np.testing.assert_allclose(delta_between(reference, target), delta, atol=1e-9)


@given(reference=poses(), target=poses())
def test_apply_delta_undoes_delta_between(reference: np.ndarray, target: np.ndarray) -> None:
    reached = apply_delta(reference, delta_between(reference, target))
    np.testing.assert_allclose(reached, target, atol=1e-7)


def test_a_delta_is_in_the_base_frame() -> None:
    tool_down = pose_from_quaternion((0.4, 0, 0.3), (0, 1, 0, 0))
    up = apply_delta(tool_down, [0, 0, 0.1, 0, 0, 0])
    np.testing.assert_allclose(up[:3, 3], [0.4, 0, 0.4], atol=1e-12)
    turned = apply_delta(tool_down, [0, 0, 0, 0, 0, np.pi / 2])
    np.testing.assert_allclose(turned[:3, 3], [0.4, 0, 0.3], atol=1e-12)
    np.testing.assert_allclose(turned[:3, 0], [0, 1, 0], atol=1e-12)


@given(batch=st.lists(st.tuples(poses(), deltas), min_size=1, max_size=4))
def test_batches_are_their_items(batch: list[tuple[np.ndarray, np.ndarray]]) -> None:
    references, steps = (np.stack(items) for items in zip(*batch, strict=True))
    together = apply_delta(references, steps)
    for index, (reference, step) in enumerate(batch):
        np.testing.assert_allclose(together[index], apply_delta(reference, step), atol=1e-12)
    np.testing.assert_allclose(delta_between(references, together), steps, atol=1e-9)
    assert state_vector(together, np.full(len(batch), 0.04)).shape == (len(batch), 10)


@given(pose=poses(), width=st.floats(0, 0.08))
def test_a_state_is_position_rotation_width(pose: np.ndarray, width: float) -> None:
    state = state_vector(pose, width)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state[:3], pose[:3, 3], atol=1e-6)
    np.testing.assert_allclose(rotation_from_6d(state[3:9]), pose[:3, :3], atol=1e-6)
    assert state[9] == np.float32(width)


@given(
    eye=arrays(float, 3, elements=metres),
    offset=arrays(float, 3, elements=st.floats(-1, 1)).filter(
        lambda o: np.linalg.norm(o[:2]) > 0.1
    ),
)
def test_look_at_puts_the_target_in_the_middle_and_up_up(
    eye: np.ndarray, offset: np.ndarray
) -> None:
    T_base_camera = look_at(eye, eye + offset)
    seen = inverse(T_base_camera) @ [*(eye + offset), 1]
    np.testing.assert_allclose(seen[:3], [0, 0, np.linalg.norm(offset)], atol=1e-9)
    assert (inverse(T_base_camera)[:3, :3] @ [0, 0, 1])[1] < 0
    assert np.linalg.det(T_base_camera[:3, :3]) == pytest.approx(1)


def test_bad_poses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"norm 2.0000, expected 1"):
        pose_from_quaternion((0, 0, 0), (2, 0, 0, 0))
    with pytest.raises(ValueError, match="non-finite"):
        pose_from_quaternion((0, np.nan, 0), (1, 0, 0, 0))
