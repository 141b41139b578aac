"""Pictures that wait for somebody who clicks, and what becomes of them."""

import numpy as np
import pytest
from rlco_calibration import cli
from rlco_calibration.clicking import Picture, Window
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather import Gatherer
from rlco_calibration.gather_scene import OBJECT_PLACES_M
from rlco_calibration.marked_states import Marks
from rlco_calibration.objects import Clicks, ObjectCapture, ObjectFolder
from rlco_calibration.port import Reading
from rlco_calibration.to_click import Pictures
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec

TWIN = load_twin(demo_bench())
CAMERA = TWIN.cameras[0].name
STEPS = ("objects", "marks")


class Person:
    """Clicks the same everywhere, and gives up at one picture."""

    def __init__(self, gives_up_at=None):
        self.gives_up_at, self.seen = gives_up_at, []

    def box(self, picture, frame):
        if len(self.seen) == self.gives_up_at:
            raise CalibrationError("given up: nothing was kept")
        self.seen.append((picture, int(frame[0, 0, 0])))
        return Clicks(table=((1, 2), (3, 4), (5, 6)), top=((1, 0), (3, 0), (5, 0)))

    def marks(self, picture, frame):
        self.seen.append((picture, int(frame[0, 0, 0])))
        return np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]])


class PicturePort:
    """A bench that shows which layout is on its table; every layout is another brightness."""

    def __init__(self):
        self.laid_out = []

    def lay_out(self, condition):
        self.laid_out.append(condition)

    def frame(self, camera):
        return 0, np.full((240, 320, 3), 10 * len(self.laid_out), np.uint8)

    def read(self):
        return Reading(stamp_ns=0, T_base_tcp=np.eye(4), width_m=0.0)


@pytest.fixture
def walk(tmp_path):
    made = Walk(tmp_path, TWIN, lambda line: None)
    made.objects = lambda: None  # solving is tested elsewhere
    made.cameras = lambda: None
    return made


def test_pictures_without_a_clicker_wait_and_are_taken_once(walk, tmp_path):
    port, said = PicturePort(), []
    for _ in range(2):
        Gatherer(port, walk, said.append).everything((CAMERA,), None, count=1, steps=STEPS)
    count = len(OBJECT_PLACES_M)
    assert len(port.laid_out) == count + 1
    assert f"{count + 1} pictures in {tmp_path / 'to_click'} wait" in said[-1]
    assert any(f"pictures to click in: {count + 1} wait" in line for line in walk.status())
    assert not walk.wanted("objects")


def test_clicks_in_waiting_pictures_become_captures_and_marks(walk, tmp_path):
    port, person = PicturePort(), Person()
    Gatherer(port, walk, lambda line: None).everything((CAMERA,), None, count=1, steps=STEPS)
    Pictures(tmp_path).click(person, lambda line: None)
    shown = [brightness for _, brightness in person.seen]
    assert shown == [10 * (index + 1) for index in range(len(port.laid_out))]
    for (picture, _), place_m in zip(person.seen, OBJECT_PLACES_M, strict=False):
        assert picture.place_m == place_m
    captures = ObjectFolder(tmp_path / "objects")
    assert len(captures) == len(OBJECT_PLACES_M)
    kept = spec.load(ObjectCapture, captures.path / "cube_00.yaml")
    assert kept.yaw_rad == person.seen[0][0].yaw_rad
    marks = spec.load(Marks, tmp_path / "marks" / "push_cube.yaml")
    yaws = next(p.yaw_rad for p in TWIN.task("push_cube").placements if p.name == "cube")
    assert (marks.marks[0].yaw_rad, marks.marks[-1].yaw_rad) == yaws
    assert Pictures(tmp_path).waiting == []
    Gatherer(port, walk, lambda line: None).everything((CAMERA,), None, count=1, steps=STEPS)
    assert len(port.laid_out) == len(OBJECT_PLACES_M) + 1


def test_somebody_present_clicks_at_once(walk, tmp_path):
    person = Person()
    gatherer = Gatherer(PicturePort(), walk, lambda line: None, person)
    gatherer.everything((CAMERA,), None, count=1, steps=STEPS)
    assert len(person.seen) == len(OBJECT_PLACES_M) + 1
    assert walk.wanted("objects")


def test_what_was_clicked_before_giving_up_is_kept(walk, tmp_path):
    gatherer = Gatherer(PicturePort(), walk, lambda line: None)
    gatherer.everything((CAMERA,), None, count=1, steps=STEPS)
    pictures, count = Pictures(tmp_path), len(OBJECT_PLACES_M)
    with pytest.raises(CalibrationError, match="given up"):
        pictures.click(Person(gives_up_at=2), lambda line: None)
    assert len(ObjectFolder(tmp_path / "objects")) == 2
    assert len(pictures.waiting) == count + 1 - 2
    pictures.click(Person(), lambda line: None)
    assert len(ObjectFolder(tmp_path / "objects")) == count


def test_the_command_clicks_in_a_window(walk, tmp_path, monkeypatch, capsys):
    Pictures(tmp_path).add(
        "cube_0", Picture(camera=CAMERA, object="cube"), np.zeros((240, 320, 3), np.uint8)
    )
    corners = np.arange(12.0).reshape(6, 2)
    monkeypatch.setattr(Window, "click", lambda self, camera, frame, prompts: corners)
    monkeypatch.setattr("sys.argv", ["rlco-calibrate", "click", "--folder", str(tmp_path)])
    cli.main()
    assert "clicked: cube_00" in capsys.readouterr().out
    kept = spec.load(ObjectCapture, tmp_path / "objects" / "cube_00.yaml")
    assert kept.clicks.table[0] == (0.0, 1.0)
    (tmp_path / "to_click" / "cube_1.yaml").write_text(
        (tmp_path / "to_click" / "clicked" / "cube_0.yaml").read_text()
    )
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 2
    assert "cube_1.png cannot be read" in capsys.readouterr().err
