"""Camera drivers against recordings, video files and fake libraries."""

import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import realsense_recording
from rlco.drivers.camera import realsense
from rlco.drivers.camera.camera import CameraLostError, CameraSetupError
from rlco.drivers.camera.realsense import RealSenseCamera, intrinsics_of, set_exposure
from rlco.drivers.camera.uvc import UvcCamera
from rlco.parameters import CameraSettings, ParameterError


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    pytest.importorskip("pyrealsense2", reason="needs pyrealsense2 (make setup-tests)")
    return realsense_recording.record(tmp_path_factory.mktemp("rs") / "x.db3", frames=20)


def settings(**changes):
    values = {"name": "wrist", "width": 64, "height": 48, "timeout_s": 5.0}
    return CameraSettings(**(values | changes))


def frames(camera, count):
    return [camera.read(5.0) for _ in range(count)]


def test_a_recording_plays_through_the_ordinary_pipeline(recording):
    camera = RealSenseCamera(settings(recording=str(recording), depth=True), sleep=time.sleep)
    opened = camera.open()
    assert realsense_recording.SERIAL in opened.text
    assert realsense_recording.NAME in opened.text
    k = opened.intrinsics
    assert (k.width, k.height, k.fx, k.cx, k.cy) == (64, 48, 64.0, 32.0, 24.0)
    assert k.distortion == pytest.approx(realsense_recording.COEFFICIENTS)
    seen = frames(camera, 12)
    camera.close()
    numbers = [int(frame.rgb[0, 0, 0]) for frame in seen]
    assert len(set(numbers)) == len(numbers), "a frame came twice"
    for number, frame in zip(numbers, seen, strict=True):
        np.testing.assert_array_equal(frame.rgb, realsense_recording.colour(number, 48, 64))
        assert frame.captured_ns == pytest.approx(5e9 + number * 1e9 / 30, abs=1000)
        assert frame.clock == "timestamp_domain.hardware_clock"
        assert abs(int(frame.depth_mm[24, 32]) - 500 - number) <= 1  # the sync may pair neighbours


def test_depth_is_in_millimetres_whatever_the_unit(tmp_path):
    pytest.importorskip("pyrealsense2", reason="needs pyrealsense2 (make setup-tests)")
    path = realsense_recording.record(tmp_path / "fine.db3", frames=12, depth_units_m=0.0001)
    camera = RealSenseCamera(settings(recording=str(path), depth=True), sleep=time.sleep)
    camera.open()
    depth = camera.read(5.0).depth_mm
    camera.close()
    assert depth.dtype == np.uint16
    assert depth[24, 32] in (50, 51)


def test_a_recording_begins_again_or_ends_as_asked(recording):
    camera = RealSenseCamera(settings(recording=str(recording)), sleep=time.sleep)
    camera.open()
    captured = [frame.captured_ns for frame in frames(camera, 30)]
    camera.close()
    assert min(np.diff(captured)) < 0
    camera = RealSenseCamera(settings(recording=str(recording), repeat=False), sleep=time.sleep)
    camera.open()
    with pytest.raises(CameraLostError, match=r"gave no frame for 1 s\. Check its cable"):
        [camera.read(1.0) for _ in range(30)]
    camera.close()
    camera.close()


def test_what_is_not_there_is_named(tmp_path, recording):
    with pytest.raises(CameraLostError, match=r"recording .*nowhere.db3 is not there"):
        RealSenseCamera(settings(recording=str(tmp_path / "nowhere.db3")), sleep=time.sleep).open()
    with pytest.raises(CameraLostError, match=r"RealSense 42 .*64x48 at 30 Hz.*Connected: none"):
        RealSenseCamera(settings(serial="42"), sleep=time.sleep).open()
    with pytest.raises(CameraLostError, match="does not start with 640x480 at 30 Hz"):
        RealSenseCamera(
            settings(recording=str(recording), width=640, height=480), sleep=time.sleep
        ).open()


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyrealsense2", None)
    with pytest.raises(CameraSetupError, match=r"pip install 'rlco\[realsense\]'.*libusb"):
        realsense.load_library()


class FakeSensor:
    """A colour sensor's options; automatic exposure finds 156."""

    def __init__(self, name="RGB Camera", stuck=()):
        self.values = {"enable_auto_exposure": 1, "enable_auto_white_balance": 1}
        self.values |= {"exposure": 156.0, "white_balance": 4600.0}
        self.name, self.stuck, self.log = name, stuck, []

    def get_info(self, item):
        return self.name

    def supports(self, option):
        return option in self.values

    def set_option(self, option, value):
        self.log.append((option, value))
        if option not in self.stuck:
            self.values[option] = value

    def get_option(self, option):
        return self.values[option]

    def get_option_range(self, option):
        return "1..10000"


class Names:
    """A namespace of pyrealsense2 in which every name stands for itself."""

    def __getattr__(self, name):
        return name


FAKE_RS = SimpleNamespace(option=Names(), camera_info=Names(), distortion=Names())


def test_locked_exposure_settles_first_and_stays():
    sensor, slept = FakeSensor(), []
    set_exposure(FAKE_RS, sensor, settings(settle_s=1.5), slept.append)
    assert slept == [1.5]
    assert sensor.values["enable_auto_exposure"] == sensor.values["enable_auto_white_balance"] == 0
    assert sensor.log[0] == ("enable_auto_exposure", 1)
    assert sensor.values["exposure"] == 156.0


@pytest.mark.parametrize(("name", "units"), [("RGB Camera", 80), ("Stereo Module", 8000)])
def test_fixed_exposure_is_in_the_sensors_unit(name, units):
    sensor = FakeSensor(name)
    set_exposure(FAKE_RS, sensor, settings(exposure="fixed", exposure_us=8000.0), pytest.fail)
    assert sensor.values["exposure"] == units
    assert sensor.values["white_balance"] == 4600.0
    assert sensor.values["enable_auto_exposure"] == 0


@pytest.mark.parametrize(
    ("exposure", "stuck", "told"),
    [
        ("fixed", "exposure", "reads 156.*1..10000"),
        ("lock", "enable_auto_exposure", "switched off"),
    ],
)
def test_an_exposure_that_does_not_take_is_refused(exposure, stuck, told):
    with pytest.raises(CameraSetupError, match=told):
        set_exposure(FAKE_RS, FakeSensor(stuck=(stuck,)), settings(exposure=exposure), len_zero)


def len_zero(_):
    return None


def test_a_lens_model_that_ros_cannot_say_is_refused():
    found = SimpleNamespace(width=64, height=48, fx=60.0, fy=60.0, ppx=32.0, ppy=24.0)
    found.model, found.coeffs = "inverse_brown_conrady", [0.0] * 5
    assert intrinsics_of(FAKE_RS, found).distortion == (0.0,) * 5
    found.coeffs = [0.1, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(CameraSetupError, match="inverse_brown_conrady"):
        intrinsics_of(FAKE_RS, found)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), (10, 20, 25 * number), np.uint8))  # BGR
    writer.release()
    return path


def test_a_video_file_plays_in_a_circle_at_its_own_rate(video):
    camera = UvcCamera(settings(driver="uvc", device=str(video), rate_hz=100), sleep=time.sleep)
    assert "64x48" in camera.open().text
    begun = time.monotonic()
    seen = frames(camera, 25)
    assert time.monotonic() - begun >= 0.24
    camera.close()
    reds = np.array([frame.rgb[24, 32].astype(int) for frame in seen])
    assert np.abs(reds[:10, 0] - 25 * np.arange(10)).max() < 8
    assert np.abs(reds[:, 1:] - (20, 10)).max() < 8
    np.testing.assert_array_equal(reds[10:20], reds[:10])
    assert seen[0].clock == "file"


def test_a_video_file_may_end(video):
    camera = UvcCamera(
        settings(driver="uvc", device=str(video), repeat=False, rate_hz=1000), sleep=time.sleep
    )
    camera.open()
    frames(camera, 10)
    with pytest.raises(CameraLostError, match="gave no frame"):
        camera.read(1.0)


class FakeCapture:
    """OpenCV's capture of a V4L2 camera."""

    def __init__(self, keeps_automatic=False, stamps=True):
        self.values = {cv2.CAP_PROP_AUTO_EXPOSURE: 3.0}
        self.keeps_automatic, self.stamps, self.reads, self.released = (
            keeps_automatic,
            stamps,
            0,
            False,
        )

    def isOpened(self):  # noqa: N802
        return True

    def getBackendName(self):  # noqa: N802
        return "FAKE"

    def set(self, item, value):
        if not (item == cv2.CAP_PROP_AUTO_EXPOSURE and self.keeps_automatic):
            self.values[item] = value
        return True

    def get(self, item):
        if item == cv2.CAP_PROP_POS_MSEC:
            return 5000.0 + 33.0 * self.reads if self.stamps else 0.0
        return self.values.get(item, 0.0)

    def read(self):
        self.reads += 1
        return True, np.full((48, 64, 3), (1, 2, 3), np.uint8)

    def release(self):
        self.released = True


def uvc(capture, **changes):
    changes = {"driver": "uvc", "device": "/dev/null", "settle_s": 0.0} | changes
    return UvcCamera(settings(**changes), sleep=time.sleep, capture=lambda path, kind: capture)


def test_a_uvc_camera_is_set_up_and_stamped_by_its_driver():
    capture = FakeCapture()
    camera = uvc(capture, exposure="fixed", exposure_us=12_000.0)
    camera.open()
    assert capture.values[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert capture.values[cv2.CAP_PROP_EXPOSURE] == 120
    frame = camera.read(1.0)
    assert frame.rgb[0, 0].tolist() == [3, 2, 1]
    assert (frame.captured_ns, frame.clock) == (5_033_000_000, "v4l2")
    camera.close()
    assert capture.released


def test_a_uvc_camera_without_stamps_is_stamped_on_arrival():
    camera = uvc(FakeCapture(stamps=False), exposure="auto")
    camera.open()
    before = time.monotonic_ns()
    frame = camera.read(1.0)
    assert before <= frame.captured_ns <= time.monotonic_ns()
    assert frame.clock == "arrival"


def test_a_uvc_camera_that_cannot_do_it_is_refused(tmp_path):
    with pytest.raises(CameraSetupError, match="keeps its automatic exposure"):
        uvc(FakeCapture(keeps_automatic=True)).open()
    capture = FakeCapture()
    capture.set = lambda item, value: False
    with pytest.raises(CameraSetupError, match="gives 0x0, not 64x48"):
        uvc(capture).open()
    with pytest.raises(CameraLostError, match="is not there"):
        uvc(FakeCapture(), device=str(tmp_path / "video7")).open()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": ""}, "'name' must be set"),
        ({"name": "a/b"}, "letters, digits and underscores"),
        ({"driver": "gopro"}, "'driver' must be one of realsense, uvc, topic, got 'gopro'"),
        ({"driver": "uvc"}, "'device' must be set"),
        ({"driver": "topic"}, "'topic' must be set"),
        ({"exposure": "bright"}, "'exposure' must be one of"),
        ({"rate_hz": 0}, r"'rate_hz' must be in \[1, 1000\]"),
    ],
)
def test_impossible_settings_are_refused(changes, told):
    with pytest.raises(ParameterError, match=told):
        settings(**changes)


def test_settings_survive_a_yaml_file(tmp_path):
    from rlco_datasets import spec

    made = settings(driver="uvc", device="/dev/video3", exposure="fixed")
    spec.save(made, tmp_path / "camera.yaml")
    assert spec.load(CameraSettings, tmp_path / "camera.yaml") == made
