"""The arm's kinematics against an independent description of the same robot."""

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco.core.kinematics import flange_pose, tcp_pose
from scipy.spatial.transform import Rotation

JOINTS = st.lists(st.floats(-2.8, 2.8), min_size=7, max_size=7).map(np.array)


def maniskill_panda():
    """Return the joints of ManiSkill's Panda URDF: child -> (parent, origin, axis, type)."""
    found = importlib.util.find_spec("mani_skill")
    if found is None or found.origin is None:
        pytest.skip("ManiSkill is not installed")
    path = Path(found.origin).parent / "assets" / "robots" / "panda" / "panda_v2.urdf"
    joints = {}
    for joint in ET.parse(path).getroot().iter("joint"):
        if joint.find("origin") is None or joint.find("parent") is None:
            continue
        origin = np.eye(4)
        origin[:3, 3] = [float(x) for x in joint.find("origin").get("xyz", "0 0 0").split()]
        rpy = [float(x) for x in joint.find("origin").get("rpy", "0 0 0").split()]
        origin[:3, :3] = Rotation.from_euler("xyz", rpy).as_matrix()
        axis = joint.find("axis")
        axis = None if axis is None else [float(x) for x in axis.get("xyz").split()]
        joints[joint.find("child").get("link")] = (
            joint.find("parent").get("link"),
            origin,
            axis if joint.get("type") == "revolute" else None,
        )
    return joints


def urdf_pose(joints, link, angles):
    """Return the pose of a link in the root, angles by the order of the joints."""
    pose = np.eye(4)
    remaining = list(angles)
    while link in joints:
        link, origin, axis = joints[link]
        turn = np.eye(4)
        if axis is not None:
            turn[:3, :3] = Rotation.from_rotvec(np.array(axis) * remaining.pop()).as_matrix()
        pose = origin @ turn @ pose
    assert not remaining
    return pose


@settings(deadline=None)
@given(JOINTS)
def test_the_tcp_is_where_maniskills_urdf_puts_it(angles):
    joints = maniskill_panda()
    expected = urdf_pose(joints, "panda_hand_tcp", angles)
    np.testing.assert_allclose(tcp_pose(angles), expected, atol=1e-6)


@settings(deadline=None)
@given(JOINTS)
def test_poses_are_rigid_and_the_flange_is_within_reach(angles):
    pose = flange_pose(angles)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    assert np.linalg.norm(pose[:3, 3] - [0, 0, 0.333]) < 0.855 + 0.107 + 1e-6


@settings(deadline=None)
@given(JOINTS, st.floats(-1.0, 1.0))
def test_the_first_joint_turns_everything_about_the_base(angles, turn):
    turned = angles.copy()
    turned[0] += turn
    expected = np.eye(4)
    expected[:3, :3] = Rotation.from_euler("z", turn).as_matrix()
    np.testing.assert_allclose(tcp_pose(turned), expected @ tcp_pose(angles), atol=1e-9)


def test_the_ready_pose_points_down():
    ready = [0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4]
    pose = tcp_pose(ready)
    np.testing.assert_allclose(pose[:3, 2], [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 0], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 3], [0.3069, 0, 0.4869], atol=1e-3)


@pytest.mark.parametrize("bad", [[0.0] * 6, [0.0] * 6 + [float("nan")]])
def test_impossible_angles_are_refused(bad):
    with pytest.raises(ValueError, match="7 finite joint angles"):
        tcp_pose(bad)
