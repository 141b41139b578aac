"""The camera node as a process: what it publishes, losing a camera and finding it again."""

import signal

import numpy as np
import pytest
import realsense_recording
from ros_processes import NodeProcess, client, nodes

pytestmark = pytest.mark.ros


class Seen:
    """What a listener heard of a camera."""

    def __init__(self, client, name="wrist"):
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image

        self.client, self.images, self.infos, self.depths = client, [], [], []
        for kind, topic, into in (
            (Image, "image_raw", self.images),
            (CameraInfo, "camera_info", self.infos),
            (Image, "aligned_depth/image_raw", self.depths),
        ):
            client.node.create_subscription(
                kind, f"cameras/{name}/{topic}", into.append, qos_profile_sensor_data
            )

    def wait(self, frames, process):
        def done():
            assert process.process.poll() is None, process.output
            return len(self.images) >= frames

        self.client.until(done, f"{frames} frames; the camera says {process.output}")


def stamps(messages):
    from rlco.nodes import wire

    return [wire.stamp_ns(message.header.stamp) for message in messages]


def test_frames_intrinsics_and_depth_have_capture_stamps(domain, tmp_path):
    parameters = {"name": "wrist", "depth": True, "rate_hz": 50, "latency_s": 0.001}
    with nodes(NodeProcess("fake_camera", parameters, tmp_path)) as (process,), client() as made:
        seen = Seen(made)
        made.watch_diagnostics()
        seen.wait(60, process)
        now_ns = made.node.get_clock().now().nanoseconds
        made.until(lambda: "camera" in made.statuses, "diagnostics")
        assert process.end(signal.SIGINT) == 0, process.output
    image, info, depth = seen.images[-1], seen.infos[-1], seen.depths[-1]
    assert (image.encoding, image.width, image.height, image.step) == ("rgb8", 64, 48, 192)
    assert image.header.frame_id == "wrist_optical_frame"
    assert (depth.encoding, depth.step) == ("16UC1", 128)
    assert set(np.frombuffer(depth.data, "<u2")) == {700}
    assert (info.k[0], info.k[4], info.k[2], info.k[5]) == (60.0, 61.0, 32.0, 24.0)
    assert info.distortion_model == "plumb_bob"
    times = stamps(seen.images)
    assert set(times) & set(stamps(seen.infos))
    assert (np.diff(times) > 0).all()
    assert 0 < now_ns - times[-1] < 5e9


def test_an_unplugged_camera_is_told_and_found_again(domain, tmp_path, monkeypatch):
    unplugged = tmp_path / "unplugged"
    unplugged.touch()
    monkeypatch.setenv("FAKE_CAMERA_UNPLUGGED", str(unplugged))
    parameters = {"name": "wrist", "retry_s": 0.1, "rate_hz": 50}
    with nodes(NodeProcess("fake_camera", parameters, tmp_path)) as (process,), client() as made:
        seen = Seen(made)
        made.watch_diagnostics()
        made.until(lambda: made.statuses.get("camera", (0,))[0] == 2, "an error")
        assert made.statuses["camera"][1] == "the fake camera is unplugged"
        unplugged.unlink()
        seen.wait(10, process)
        made.until(lambda: made.statuses["camera"][0] < 2, "the camera to be well")
        unplugged.touch()
        made.until(lambda: made.statuses["camera"][0] == 2, "the second loss")
        lost = len(seen.images)
        unplugged.unlink()
        seen.wait(lost + 10, process)
        assert (np.diff(stamps(seen.images)) > 0).all()
        assert process.end(signal.SIGTERM) == 0, process.output


def test_a_recording_is_published_with_its_intrinsics(domain, tmp_path):
    pytest.importorskip("pyrealsense2", reason="needs pyrealsense2 (make setup-tests)")
    path = realsense_recording.record(tmp_path / "x.db3", frames=20)
    parameters = {"name": "wrist", "recording": str(path), "width": 64, "height": 48}
    process = NodeProcess("rlco.nodes.camera", parameters | {"depth": True}, tmp_path)
    with nodes(process), client() as made:
        seen = Seen(made)
        seen.wait(40, process)  # twice through: the device's clock jumps back on the way
        assert process.end(signal.SIGINT) == 0, process.output
    assert (np.diff(stamps(seen.images)) > 0).all()
    assert list(seen.infos[-1].d) == pytest.approx(realsense_recording.COEFFICIENTS)
    assert realsense_recording.SERIAL in process.output
    assert seen.depths


def test_a_topic_camera_converts_and_keeps_the_stamps(domain, tmp_path):
    import cv2
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage

    parameters = {"name": "wrist", "driver": "topic", "topic": "theirs", "compressed": True}
    process = NodeProcess("rlco.nodes.camera", parameters, tmp_path)
    with nodes(process), client() as made:
        from rlco.nodes import wire

        out = made.node.create_publisher(CompressedImage, "theirs", qos_profile_sensor_data)
        seen = Seen(made)
        bgr = np.full((48, 64, 3), (10, 20, 200), np.uint8)
        message = CompressedImage(format="png", data=cv2.imencode(".png", bgr)[1].tobytes())
        sent = []

        def publish_until_seen():
            now_ns = made.node.get_clock().now().nanoseconds
            message.header.stamp = wire.time_message(now_ns)
            sent.append(now_ns)
            out.publish(message)
            return len(seen.images) >= 3

        made.until(publish_until_seen, "frames")
        assert process.end(signal.SIGINT) == 0, process.output
    assert set(stamps(seen.images)) <= set(sent)
    assert wire.image_array(seen.images[-1])[0, 0].tolist() == [200, 20, 10]


def test_settings_that_cannot_be_met_end_the_node_with_a_reason(domain, tmp_path):
    process = NodeProcess("rlco.nodes.camera", {"name": "wrist", "driver": "uvc"}, tmp_path)
    with nodes(process):
        assert process.wait() == 2
        assert "parameter 'device' must be set" in process.output
