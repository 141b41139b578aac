"""The simulated lab's people: they click at boxes and marks, and its drawer is touched."""

from dataclasses import replace

import numpy as np
import pytest
from rlco.lab import grade
from rlco.lab.clicker import LabClicker
from rlco.lab.draw import draw_lab
from rlco.lab.port import LabBoard, LabPort
from rlco.lab.scale import weigh
from rlco.lab.unmeasured import unmeasure
from rlco_calibration.board import Board
from rlco_calibration.box_pixels import box_sizes
from rlco_calibration.clicking import Picture
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather import Gatherer, task_of
from rlco_calibration.initial_states import sample
from rlco_calibration.lens import Lens
from rlco_calibration.marked_states import Mark, Marks, MeasuredStates, fitted, positions
from rlco_calibration.motion import press
from rlco_calibration.parts import Provenance
from rlco_calibration.port import Reading
from rlco_calibration.recording import load_all
from rlco_calibration.results import Quantities
from rlco_calibration.scene import Ruler
from rlco_calibration.scene_fit import SHARED, SceneView
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec

TWIN = load_twin(demo_bench())
HIDDEN = unmeasure(draw_lab(TWIN, seed=3), seed=3)
CAMERA = HIDDEN.cameras[0]
FRAME = np.zeros((240, 320, 3), np.uint8)
TRUE_VIEW = SceneView(
    lens=Lens(
        size=(320, 240), fx=CAMERA.fx, fy=CAMERA.fy, cx=CAMERA.cx, cy=CAMERA.cy,
        distortion=CAMERA.distortion,
    ),
    T_base_camera=CAMERA.T_base_camera,
    table_m=HIDDEN.table.height_m,
    shared_std=np.full(SHARED, 1e-9),
)  # fmt: skip


BOX = Picture(camera=CAMERA.name, object="cube", place_m=(0.5, 0.02), yaw_rad=-0.3)
MARKS = Picture(camera=CAMERA.name, object="cube", task="push_cube")


class StillPort:
    """A bench on which a wall stops the hand."""

    def __init__(self, wall_x_m=np.inf):
        self.wall_x_m, self.tcp = wall_x_m, np.eye(4)

    def read(self):
        return Reading(stamp_ns=0, T_base_tcp=self.tcp, width_m=0.0)

    def command(self, target, width_m):
        self.tcp = target.copy()
        self.tcp[0, 3] = min(self.tcp[0, 3], self.wall_x_m)
        return target


def test_clicks_of_the_labs_people_are_at_the_corners_of_its_box():
    clicker = LabClicker(HIDDEN, seed=0)
    captures = {f"cube_{i}": (TRUE_VIEW, clicker.box(BOX, FRAME), -0.3) for i in range(8)}
    found, single = box_sizes("cube", captures)
    size = HIDDEN.object_model("cube").size_m
    assert size != TWIN.object_model("cube").size_m
    for item, true in zip(found, size, strict=True):
        assert abs(item.value_m - true) < 3 * item.std_m
    assert all(0.05 < fit.rms_px < 2.0 for fit in single.values())
    assert clicker.box(BOX, FRAME) != captures["cube_0"][1]


def test_a_box_that_shows_one_side_is_not_clicked():
    eye = np.array(CAMERA.position_m[:2]) - [0.5, 0.02]
    turned = replace(BOX, yaw_rad=float(np.arctan2(eye[1], eye[0])))
    with pytest.raises(CalibrationError, match="one side only"):
        LabClicker(HIDDEN, seed=0).box(turned, FRAME)


def test_clicked_marks_give_the_labs_start_region_and_it_is_graded(tmp_path):
    pixels = LabClicker(HIDDEN, seed=0).marks(MARKS, FRAME)
    marks = Marks(
        task="push_cube",
        camera=CAMERA.name,
        marks=tuple(Mark(object="cube", pixel=tuple(map(float, pixel))) for pixel in pixels),
    )
    places = positions(marks, lambda at: TRUE_VIEW.on_plane(at, HIDDEN.table.height_m))
    states = fitted(marks, places, TWIN)
    spec.save(
        MeasuredStates(states=(states,), sources={}, marked={"push_cube": ("cube",)}),
        tmp_path / "results" / "tasks.yaml",
    )
    (mark,) = grade.marks(tmp_path, HIDDEN)
    assert mark.name == "start region"
    assert 0 < mark.error < 8.0
    untouched = fitted(marks, places + 0.03, TWIN)
    spec.save(
        MeasuredStates(states=(untouched,), sources={}, marked={"push_cube": ("cube",)}),
        tmp_path / "results" / "tasks.yaml",
    )
    assert grade.marks(tmp_path, HIDDEN)[0].error == pytest.approx(30.0, abs=8.0)


def test_what_an_unmeasured_lab_draws_for_its_scene_is_its_own():
    drawer, nominal = HIDDEN.drawers[0], TWIN.drawers[0]
    assert drawer.position_m[2] == HIDDEN.table.height_m
    moved = np.array(drawer.position_m[:2]) - nominal.position_m[:2]
    assert 0 < np.linalg.norm(moved) <= 0.005
    assert 0 < abs(drawer.yaw_rad - nominal.yaw_rad) <= 0.02
    assert HIDDEN.task("pick_and_place") == TWIN.task("pick_and_place")
    assert HIDDEN.task("push_cube") != TWIN.task("push_cube")
    for seed in range(20):
        lab = unmeasure(draw_lab(TWIN, seed=seed), seed=seed)
        sample(lab, "push_cube", np.random.default_rng(0), "start")


def test_a_press_ends_at_the_wall_and_leans_on_it_lightly():
    port = StillPort(wall_x_m=0.05)
    at, target = press(port, np.eye(4), np.array([1.0, 0, 0]), furthest_m=0.1)
    assert at[0] == pytest.approx(0.05)
    assert target[0, 3] == pytest.approx(0.051)
    with pytest.raises(CalibrationError, match="nothing stopped the fingers on 100 mm"):
        press(StillPort(), np.eye(4), np.array([1.0, 0, 0]), furthest_m=0.1)


def test_the_bench_is_set_up_for_the_drawer_where_it_alone_is_collected():
    steps = ("", "captures,touches", "slides,pushes", "drawer", " drawer ", "drawer,slides")
    assert [task_of(text) for text in steps] == ["push_cube"] * 3 + ["open_drawer"] * 3


def lab_port():
    """The hidden lab in this process, without pictures."""
    from rlco.lab.bench import SimulatedBench
    from rlco_datasets.contract import franka_compact
    from rlco_trainer.twin.scene import TwinScene

    def build(task):
        scene = TwinScene(HIDDEN, franka_compact(), task, images="none")
        scene.reset(sample(HIDDEN, task, np.random.default_rng(0), "start"))
        return SimulatedBench(scene, franka_compact(), start_ns=1)

    return LabPort(HIDDEN, build, "push_cube", LabBoard(HIDDEN, Board()))


@pytest.mark.sim
@pytest.mark.slow
def test_the_drawer_of_a_hidden_lab_is_measured_by_touch(tmp_path):
    said = []
    walk = Walk(tmp_path, TWIN, said.append)
    port = lab_port()
    gatherer = Gatherer(port, walk, said.append)
    gatherer.everything((), Board(), count=1, steps=("touches", "drawer"))
    walk.drawer()
    found = {}
    for mark in grade.marks(tmp_path, HIDDEN):
        found.setdefault(mark.name, []).append(mark)
    (travel,) = found["drawer travel"]
    assert travel.error < 2.0
    assert travel.inside == (True,)
    for name, bound in (("drawer axis", 1.0), ("handle depth", 2.0), ("handle height", 2.0)):
        assert found[name][0].error < bound, name
    lines = len(said)
    gatherer.everything((), Board(), count=1, steps=("touches", "drawer"))
    assert not any("touches" in line for line in said[lines:]), "nothing is touched again"


@pytest.mark.sim
@pytest.mark.slow
def test_pushes_tell_friction_though_the_box_was_not_measured_exactly(tmp_path):
    """The object slides on without the fingers, so an error of its size hardly shows."""
    walk = Walk(tmp_path, TWIN, lambda line: None)
    Gatherer(lab_port(), walk, lambda line: None).pushes()
    for recording in load_all(tmp_path / "pushes"):
        slid, hand = recording.track.objects["cube"][:, 0, 3], recording.track.T_base_tcp[:, 0, 3]
        assert slid[-1] - slid[0] > 0.08
        assert slid[-1] - hand[-1] > 0.05, "the hand has let go of it"
    from rlco_datasets.contract import franka_compact
    from rlco_trainer.replay_in_twin import TwinSimulator

    cube = HIDDEN.object_model("cube")
    off = tuple(
        edge + error for edge, error in zip(cube.size_m, (0.001, -0.001, 0.0005), strict=True)
    )
    guess = replace(cube, size_m=off, friction=TWIN.table.friction)
    objects = tuple(guess if item.name == "cube" else item for item in HIDDEN.objects)
    table = replace(HIDDEN.table, friction=TWIN.table.friction)
    walk.measured = lambda steps: replace(HIDDEN, hidden=False, table=table, objects=objects)
    friction = walk.friction(TwinSimulator(franka_compact())).quantities[0]
    assert friction.identified
    assert friction.value == pytest.approx(cube.friction, rel=0.15)
    assert friction.low <= cube.friction <= friction.high


STATED = (
    Provenance(name="drawers.drawer.yaw_rad", source="touched", std=(0.0015,)),
    Provenance(name="drawers.drawer.friction", source="from a handbook", std=(0.1,)),
)


@pytest.mark.sim
@pytest.mark.slow
def test_pushes_tell_how_a_hidden_labs_drawer_slides(tmp_path, monkeypatch):
    """Though its place is not known exactly, and its mass by a scale only."""
    from rlco_calibration import excite_drawer
    from rlco_datasets.contract import franka_compact
    from rlco_trainer.replay_in_twin import TwinSimulator

    monkeypatch.setattr(excite_drawer, "PERIODS", (6, 3, 2))
    true, nominal = HIDDEN.drawers[0], TWIN.drawers[0]
    x, y, z = true.position_m
    guess = replace(
        true,
        position_m=(x + 0.001, y - 0.0005, z),
        joint_friction_n=nominal.joint_friction_n,
        joint_damping_n_s_per_m=nominal.joint_damping_n_s_per_m,
    )
    known = replace(HIDDEN, hidden=False, drawers=(guess,), provenance=STATED)
    walk = Walk(tmp_path, known, lambda line: None)
    weigh(HIDDEN, tmp_path, seed=3)
    Gatherer(lab_port(), walk, lambda line: None).everything(
        (), Board(), count=1, steps=("slides",)
    )
    for recording in load_all(tmp_path / "slides"):
        handle, hand = recording.track.objects["drawer_handle"], recording.track.T_base_tcp
        assert np.linalg.norm((handle[-1] - handle[0])[:3, 3]) > 0.04
        assert np.allclose(handle[-9], handle[-1], atol=1e-6), "it came to rest"
        assert (hand[-1] - handle[-1])[2, 3] > 0.05, "the hand is out of the way"
    spec.save(Quantities(quantities=()), walk.result("arm"))  # as known from the start
    found = walk.slides(TwinSimulator(franka_compact()))
    assert walk.picture("slides").is_file()
    for item in found.quantities:
        truth = getattr(true, item.name.rpartition(".")[2])
        assert item.identified
        assert item.value == pytest.approx(truth, rel=0.15)
        assert item.low <= truth <= item.high
    assert [mark.name for mark in grade.marks(tmp_path, HIDDEN)] == [
        "drawer friction", "drawer damping",
    ]  # fmt: skip


def test_the_labs_scale_is_read_once_and_not_exactly(tmp_path):
    weigh(HIDDEN, tmp_path, seed=3)
    (entry,) = spec.load(Ruler, tmp_path / "ruler.yaml").entries
    assert entry.name == "drawers.drawer.mass_kg"
    assert 0 < abs(entry.value - HIDDEN.drawers[0].mass_kg) < 4 * entry.std
    weigh(HIDDEN, tmp_path, seed=4)
    assert spec.load(Ruler, tmp_path / "ruler.yaml").entries == (entry,)
    measured = Walk(tmp_path, TWIN, lambda line: None).measured(())
    assert measured.drawers[0].mass_kg == entry.value
