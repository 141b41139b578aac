"""The steps `objects`, `drawer` and `tasks` over a folder, from captures to the twin."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from rlco_calibration import cli
from rlco_calibration.box_pixels import box_corners
from rlco_calibration.clicking import Picture, Window, annotated, source_pixels
from rlco_calibration.drawer import DrawerTouches
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import Lens
from rlco_calibration.marked_states import Mark, Marks
from rlco_calibration.objects import Clicks, ObjectCapture, ObjectFolder
from rlco_calibration.results import CameraResult, Quantities, Quantity
from rlco_calibration.scene_steps import scene_view
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec

TWIN = load_twin(demo_bench())
CAMERA = TWIN.cameras[0]
LENS = Lens(size=(320, 240), fx=CAMERA.fx, fy=CAMERA.fy, cx=CAMERA.cx, cy=CAMERA.cy)
SIZE = (0.05, 0.03, 0.044)
FRAME = np.full((240, 320, 3), 90, np.uint8)
CORNERS = ((0.42, -0.15), (0.56, -0.15), (0.56, 0.1), (0.42, 0.1))
# signs of the corners in sight of the demo camera at yaw -0.3: left, near, right
LEFT_NEAR_RIGHT = [[-1, -1], [1, -1], [1, 1]]
DRAWER = DrawerTouches(
    name="drawer",
    closed_m=((0.5, 0.001, 0.07), (0.5, 0.0, 0.07)),
    opened_m=((0.39, 0.001, 0.07), (0.39, 0.0, 0.07)),
    front_m=((0.535, -0.06, 0.09), (0.535, 0.06, 0.09), (0.535, 0.0, 0.075)),
    top_m=((0.5, 0.0, 0.09), (0.5, 0.02, 0.09)),
)


@pytest.fixture
def folder(tmp_path):
    """A folder in which camera and table are measured."""
    spec.save(
        CameraResult(
            camera=CAMERA.name,
            setup="eye_to_hand",
            position_m=CAMERA.position_m,
            quaternion_wxyz=CAMERA.quaternion_wxyz,
            position_std_m=(2e-4,) * 3,
            rotation_std_rad=(5e-4,) * 3,
            degrees=20.0,
            lens=LENS,
            lens_std=(0.2,) * 9,
            rms_px=0.2,
            left_out_px=0.2,
            captures=20,
            baselines_m={},
            baselines_wxyz={},
        ),
        tmp_path / "results" / f"camera_{CAMERA.name}.yaml",
    )
    height = Quantity(name="table.height_m", value=0.002, std=2e-4, low=0.0, high=0.004, source="x")
    spec.save(Quantities(quantities=(height,)), tmp_path / "results" / "table.yaml")
    return tmp_path


@pytest.fixture
def walk(folder):
    said = []
    made = Walk(folder, TWIN, said.append)
    made.said = said
    return made


def box_clicks(folder, walk, shift=0.0):
    view = scene_view(folder, CAMERA.name, walk.measured(("table",)))
    corners = [[*flat, z] for z in (0, 1) for flat in LEFT_NEAR_RIGHT]
    points = box_corners(np.array([0.5, 0.0, -0.3]), np.array(SIZE), np.array(corners), 0.002)
    pixels = view.pixels(points, np.zeros(11))
    pixels[4, 0] += shift
    as_tuples = [tuple(map(float, pixel)) for pixel in pixels]
    return Clicks(table=tuple(as_tuples[:3]), top=tuple(as_tuples[3:]))


def clicked(folder, walk, **changes):
    return ObjectCapture(
        object="cube", camera=CAMERA.name, yaw_rad=-0.3, clicks=box_clicks(folder, walk, **changes)
    )


def test_clicked_sizes_reach_the_twin_with_source_and_a_picture(folder, walk):
    captures = ObjectFolder(folder / "objects")
    for _ in range(2):
        captures.add(clicked(folder, walk), FRAME)
    assert walk.wanted("objects")
    walk.objects()
    twin = walk.twin()
    np.testing.assert_allclose(twin.object_model("cube").size_m, SIZE, atol=1e-6)
    size = {item.name: item for item in twin.provenance}["objects.cube.size_m"]
    assert "[0] 2 pictures, corners clicked" in size.source
    assert all(1e-4 < std < 0.003 for std in size.std)
    assert walk.picture("objects").is_file()


def test_a_bad_capture_is_named_left_out_and_kept(folder, walk):
    captures = ObjectFolder(folder / "objects")
    captures.add(clicked(folder, walk), FRAME)
    captures.add(clicked(folder, walk, shift=40.0), FRAME)
    found = walk.objects()
    assert any("left out: cube_01: click" in line for line in walk.said)
    assert "1 pictures" in found.quantities[0].source
    assert captures.names == ["cube_00", "cube_01"]


def test_when_no_capture_can_be_used_the_step_fails(folder, walk):
    ObjectFolder(folder / "objects").add(clicked(folder, walk, shift=40.0), FRAME)
    with pytest.raises(CalibrationError, match="none of cube_00 tells the size of 'cube'"):
        walk.objects()


def test_objects_need_a_measured_camera_and_a_box(folder, walk):
    captures = ObjectFolder(folder / "objects")
    captures.add(
        ObjectCapture(object="cube", camera="wrist", clicks=box_clicks(folder, walk)), FRAME
    )
    with pytest.raises(CalibrationError, match="camera 'wrist' is not measured yet"):
        walk.objects()
    (folder / "objects" / "cube_00.yaml").unlink()
    captures.add(
        ObjectCapture(object="bowl", camera="wrist", clicks=box_clicks(folder, walk)), FRAME
    )
    with pytest.raises(CalibrationError, match="'bowl' is a bowl: pictures measure boxes"):
        walk.objects()


def test_optional_steps_are_wanted_only_where_something_was_collected(walk):
    assert [walk.wanted(step) for step in ("table", "objects", "drawer", "tasks")] == [
        True, False, False, False,
    ]  # fmt: skip
    for step in (walk.objects, walk.drawer, walk.tasks):
        with pytest.raises(CalibrationError, match=r"yet\. Collect them first"):
            step()
    assert any("drawers: none collected (optional)" in line for line in walk.status())


def test_touches_of_the_drawer_reach_the_twin(folder, walk):
    spec.save(DRAWER, folder / "drawers" / "drawer.yaml")
    walk.drawer()
    model = walk.twin().drawer("drawer")
    assert model.travel_m == pytest.approx(0.11)
    assert model.yaw_rad == pytest.approx(0.0, abs=1e-3)
    assert model.handle_height_m == pytest.approx(0.09 - 0.00945 - 0.006 - 0.002)
    assert walk.picture("drawer_drawer").is_file()


def test_a_drawer_file_that_cannot_be_is_named(folder, walk):
    millimetres = DrawerTouches(
        name="drawer",
        closed_m=tuple(tuple(1000 * v for v in point) for point in DRAWER.closed_m),
        opened_m=DRAWER.opened_m,
        front_m=DRAWER.front_m,
    )
    spec.save(millimetres, folder / "drawers" / "drawer.yaml")
    with pytest.raises(CalibrationError, match=r"drawers/drawer\.yaml: .*Millimetres"):
        walk.drawer()
    spec.save(
        DrawerTouches(**{**vars(DRAWER), "name": "chest"}), folder / "drawers" / "drawer.yaml"
    )
    with pytest.raises(CalibrationError, match="no 'chest'"):
        walk.drawer()


def test_the_drawer_file_of_the_docs_can_be_used(folder, walk):
    page = (Path(__file__).parents[2] / "docs" / "calibration.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(name: drawer\n.*?)```", page, re.DOTALL)
    (folder / "drawers").mkdir()
    (folder / "drawers" / "drawer.yaml").write_text(example, encoding="utf-8")
    found = {item.name: item.value for item in walk.drawer().quantities}
    assert found["drawers.drawer.travel_m"] == pytest.approx(0.108, abs=1e-3)


def test_marks_become_the_tasks_start(folder, walk):
    view = scene_view(folder, CAMERA.name, walk.measured(("table",)))
    points = np.array([[x, y, 0.002] for x, y in CORNERS])
    pixels = view.pixels(points, np.zeros(11))
    marks = tuple(Mark(object="cube", pixel=tuple(map(float, pixel))) for pixel in pixels)
    path = folder / "marks" / "push_cube.yaml"
    spec.save(Marks(task="push_cube", marks=marks, camera=CAMERA.name, margin_m=0.01), path)
    walk.tasks()
    twin = walk.twin()
    place = next(p for p in twin.task("push_cube").placements if p.name == "cube")
    assert place.x_m == pytest.approx((0.41, 0.57), abs=1e-6)
    assert place.y_m == pytest.approx((-0.16, 0.11), abs=1e-6)
    assert walk.picture("tasks").is_file()
    source = {item.name: item.source for item in twin.provenance}["tasks.push_cube.placements"]
    assert source == "4 marked positions, clicked; margin 10 mm, 0 deg"


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["rlco-calibrate", *map(str, arguments)])
    cli.main()


def test_the_commands_keep_captures_and_marks_and_solve_them(folder, walk, monkeypatch, capsys):
    frame = folder / "frame.png"
    cv2.imwrite(str(frame), FRAME)
    clicks = box_clicks(folder, walk)
    flat = [[value for pixel in group for value in pixel] for group in (clicks.table, clicks.top)]
    run(monkeypatch, "object", "--folder", folder, "--object", "cube", "--camera", CAMERA.name,
        "--frame", frame, "--yaw-deg", "-17", "--table-px", *flat[0],
        "--top-px", *flat[1])  # fmt: skip
    for object_x in (0.42, 0.56):
        run(monkeypatch, "mark", "--folder", folder, "--task", "push_cube", "--object", "cube",
            "--touched-m", object_x, "-0.1", "0.0", object_x, "0.1", "0.0")  # fmt: skip
    touched = tuple((x, y, 0.002 + 0.00945) for x in (0.3, 0.5) for y in (-0.2, 0.0, 0.2))
    (folder / "touches.yaml").write_text(
        "positions_m:\n" + "".join(f"- [{x}, {y}, {z}]\n" for x, y, z in touched)
    )
    run(monkeypatch, "scene", "--folder", folder)
    run(monkeypatch, "tasks", "--folder", folder)
    said = capsys.readouterr().out
    assert "objects.cube.size_m[0]: 0.05" in said
    assert "drawer: nothing collected" in said
    assert "push_cube: cube x 0.420 to 0.560, y -0.100 to 0.100 m" in said


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("mark", "--task", "push_cube", "--object", "cube"), "no marks"),
        (("mark", "--task", "push_cube", "--object", "cube", "--pixels", "1", "2", "3"), "u and v"),
        (("mark", "--task", "push_cube", "--object", "cube", "--pixels", "1", "2"), "which camera"),
        (("object", "--object", "cube", "--camera", "c", "--frame", "gone.png"), "cannot be read"),
        (("tasks",), "no marked positions yet"),
    ],
)
def test_commands_say_what_is_missing(folder, monkeypatch, capsys, arguments, what):
    with pytest.raises(SystemExit) as raised:
        run(monkeypatch, arguments[0], "--folder", folder, *arguments[1:])
    assert raised.value.code == 2
    assert what in capsys.readouterr().err


def test_a_window_without_a_display_says_what_to_do_instead(monkeypatch):
    def refuse(*arguments):
        raise cv2.error("no display")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(CalibrationError, match="no display to click in"):
        Window().box(Picture(camera="front", object="cube"), FRAME)


def test_clicks_in_the_window_are_pixels_of_the_frame(monkeypatch):
    """Click twice, take one back, click again, confirm; the picture is five times as large."""
    keys = iter([-1, ord("u"), -1, 13])
    clicks = iter([(102, 52), (7, 7), (202, 52), None])
    seen = {}
    monkeypatch.setattr(cv2, "namedWindow", lambda name: None)
    monkeypatch.setattr(cv2, "destroyWindow", lambda name: None)
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: seen.update(shape=picture.shape))
    monkeypatch.setattr(cv2, "setMouseCallback", lambda name, call: seen.update(mouse=call))

    def key(delay):
        place = next(clicks)
        if place is not None:
            seen["mouse"](cv2.EVENT_LBUTTONDOWN, *place, 0, None)
        return next(keys)

    monkeypatch.setattr(cv2, "waitKey", key)
    wanted = Picture(camera="front", object="cube", task="push_cube")
    found = Window(marks=2).marks(wanted, FRAME)
    assert seen["shape"] == (1200, 1600, 3)
    np.testing.assert_allclose(found, [[20, 10], [40, 10]])
    np.testing.assert_allclose(source_pixels(np.array([[2.0, 2.0]]), 5), [[0, 0]])
    assert (annotated(FRAME, [(5, 5)], ("a", "b"), "front") != FRAME).any()
