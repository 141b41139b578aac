"""Frames on TF: cameras that stand still, the TCP that moves, each in its bench's namespace."""

import sys

import numpy as np
import pytest
from ros_processes import NodeProcess, client, nodes

pytestmark = pytest.mark.ros
T_BASE_CAMERA = np.eye(4)
T_BASE_CAMERA[:3] = [[0, -1, 0, 0.4], [1, 0, 0, 0.5], [0, 0, 1, 0.6]]


@pytest.fixture
def listener(domain):
    """A client with the transforms it has heard: (parent, child) -> message."""
    messages = pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs (make setup-tests)")
    from rlco.nodes.tf import LATCHED, MOVING

    with client() as made:
        made.heard = {}

        def keep(message):
            for item in message.transforms:
                made.heard[item.header.frame_id, item.child_frame_id] = item

        made.node.create_subscription(messages.TFMessage, "/tf", keep, MOVING)
        made.node.create_subscription(messages.TFMessage, "/tf_static", keep, LATCHED)
        yield made


@pytest.fixture
def node(domain):
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("tf", context=context, namespace="/lab/bench1")
    yield made
    made.destroy_node()
    context.try_shutdown()


def test_frames_are_named_within_the_namespace(node, listener):
    from rlco.nodes.tf import TcpFrame, publish_static_frame

    assert publish_static_frame(node, "wrist_optical_frame", T_BASE_CAMERA)
    tcp = TcpFrame(node)

    def told():
        tcp.send(T_BASE_CAMERA, 1_500_000_000)
        return len(listener.heard) == 2

    listener.until(told, "both frames")
    camera = listener.heard["lab/bench1/base", "lab/bench1/wrist_optical_frame"]
    moved, turned = camera.transform.translation, camera.transform.rotation
    assert [moved.x, moved.y, moved.z] == [0.4, 0.5, 0.6]
    half = np.sqrt(0.5)
    np.testing.assert_allclose([turned.w, turned.x, turned.y, turned.z], [half, 0, 0, half])
    tcp_told = listener.heard["lab/bench1/base", "lab/bench1/tcp"]
    assert tcp_told.transform == camera.transform
    assert (tcp_told.header.stamp.sec, tcp_told.header.stamp.nanosec) == (1, 500_000_000)


def test_without_tf2_msgs_nodes_go_on(node, monkeypatch):
    from rlco.nodes.tf import TcpFrame, publish_static_frame

    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", None)
    assert not publish_static_frame(node, "wrist_optical_frame", T_BASE_CAMERA)
    TcpFrame(node).send(T_BASE_CAMERA, 0)
    assert not [topic for topic, _ in node.get_topic_names_and_types() if topic.startswith("/tf")]


def test_a_simulated_lab_tells_where_its_tcp_is(listener, tmp_path):
    from geometry_msgs.msg import PoseStamped
    from rlco.nodes import topics
    from rlco_calibration.twin import demo_bench

    poses = []
    listener.node.create_subscription(PoseStamped, topics.POSE, poses.append, 10)
    with nodes(NodeProcess("fake_scene", {"twin": str(demo_bench())}, tmp_path)):
        listener.until(lambda: poses and ("base", "tcp") in listener.heard, "pose and frame")
    told, pose = listener.heard["base", "tcp"], poses[-1].pose
    assert told.header.stamp == poses[-1].header.stamp
    moved = told.transform.translation
    assert (moved.x, moved.y, moved.z) == (pose.position.x, pose.position.y, pose.position.z)
