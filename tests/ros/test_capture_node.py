"""The capture node: frames of the board with the arm's pose, refused while the arm moves."""

import signal

import numpy as np
import pytest
from ros_processes import NodeProcess, client, nodes

pytestmark = pytest.mark.ros


def test_captures_are_kept_with_the_pose_at_their_time(domain, tmp_path):
    from geometry_msgs.msg import PoseStamped
    from rlco.nodes import topics, wire
    from rlco_calibration.captures import CaptureFolder
    from rlco_calibration.twin import demo_bench
    from std_srvs.srv import Trigger

    lab = NodeProcess("fake_scene", {"twin": str(demo_bench())}, tmp_path)
    capture = NodeProcess(
        "rlco.nodes.capture",
        {"folder": str(tmp_path), "square_m": 0.03, "marker_m": 0.02},
        tmp_path,
    )
    with nodes(lab, capture), client() as watcher:
        poses = []
        watcher.node.create_subscription(PoseStamped, topics.POSE, poses.append, 10)
        answers = []

        def captured():
            answers.append(watcher.call(Trigger, topics.CAPTURE, Trigger.Request()))
            return answers[-1].success

        watcher.until(captured, "a capture")
        assert (
            "no frame on cameras/third_person/image_raw" in answers[0].message or len(answers) == 1
        )
        assert answers[-1].message == "third_person/000000 (1 in all)"
        assert captured()
        watcher.until(lambda: poses, "a pose")
        moved = poses[-1]
        # A second source of state, as if the arm moved after the frame was taken.
        out = watcher.node.create_publisher(PoseStamped, topics.POSE, 10)
        watcher.until(lambda: out.get_subscription_count() > 1, "the node to listen")
        moved.pose.position.x += 0.01
        moved.header.stamp.sec += 1

        def refused():
            out.publish(moved)
            return not captured() and "the arm moved 10.0 mm" in answers[-1].message

        watcher.until(refused, "the refusal of a moving arm")
        assert capture.end(signal.SIGTERM) == 0
    folder = CaptureFolder.open(tmp_path / "captures" / "third_person")
    assert folder.session.board.square_m == 0.03
    first = folder.captures()[0]
    assert first.frame.shape == (240, 320, 3)
    assert first.record.frame_stamp_ns == first.record.pose_stamp_ns
    assert first.record.T_base_tcp[0, 3] == pytest.approx(moved.pose.position.x - 0.01)
    np.testing.assert_array_equal(first.frame[..., 0], 0)  # the fake scene's step in red
    assert wire.stamp_ns(moved.header.stamp) > first.record.frame_stamp_ns
