"""Grading over ROS: which sessions of `rlco-up calibrate` are run, and what comes between them."""

import sys

import numpy as np
import pytest
from rlco.bringup import GRAPHS, ArgumentError
from rlco.lab import over_ros
from rlco.lab.clicker import LabClicker
from rlco.lab.draw import draw_lab
from rlco.lab.unmeasured import WORKSPACE_FLOOR_M, unmeasure
from rlco.parameters.calibrate import COLLECTED
from rlco_calibration.clicking import Picture
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather import task_of
from rlco_calibration.objects import ObjectFolder
from rlco_calibration.to_click import Pictures
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk

TWIN = load_twin(demo_bench())
HIDDEN = unmeasure(draw_lab(TWIN, seed=3), seed=3)
CAMERA = HIDDEN.cameras[0].name


@pytest.fixture
def values(tmp_path):
    """The arguments of a session as `rlco-up` reads them."""
    command = over_ros.session_command(
        tmp_path / "work",
        tmp_path / "hidden.yaml",
        demo_bench(),
        "franka_compact",
        steps="captures,touches",
        captures=9,
    )
    assert command[:4] == [sys.executable, "-m", "rlco.up", "calibrate"]
    return dict(word.split(":=") for word in command[4:])


def test_a_session_gives_the_hidden_twin_to_the_lab_alone(values):
    nodes = {node.name: node.parameters for node in GRAPHS["calibrate"].nodes(values)}
    assert list(nodes) == ["sim_lab", "guard", "calibrate"]
    holders = [n for n, given in nodes.items() if values["twin"] in given.values()]
    assert holders == ["sim_lab"]
    assert nodes["calibrate"]["bench"] == str(demo_bench())
    assert nodes["calibrate"]["captures"] == 9
    assert nodes["sim_lab"]["image_every"] > 1000


def test_the_sessions_collect_all_there_is_and_the_drawer_apart():
    steps = [step for session in over_ros.SESSIONS for step in session.split(",")]
    assert sorted(steps) == sorted(COLLECTED)
    assert [task_of(session) for session in over_ros.SESSIONS] == [
        "push_cube", "open_drawer", "push_cube",
    ]  # fmt: skip
    order = {step: index for index, step in enumerate(steps)}
    assert order["objects"] < order["pushes"], "a push is aimed at the box's height"


def test_the_floor_of_the_guard_is_lowered_where_asked(values):
    def guard(**changes):
        nodes = GRAPHS["calibrate"].nodes(values | changes)
        return next(node for node in nodes if node.name == "guard").parameters

    low_m = TWIN.workspace.low_m
    lowered, usual = guard(), guard(floor_m="")
    assert lowered["workspace_low_m"] == [*low_m[:2], WORKSPACE_FLOOR_M]
    assert lowered["table_height_m"] == WORKSPACE_FLOOR_M
    assert usual["workspace_low_m"] == list(low_m)
    assert usual["table_height_m"] == low_m[2]
    assert lowered["workspace_high_m"] == usual["workspace_high_m"]
    assert guard(automatic="false")["workspace_low_m"] == list(low_m)
    for wrong in ("-50", "low", "nan"):
        with pytest.raises(ArgumentError, match=f"floor_m must be .*{wrong}"):
            guard(floor_m=wrong)


@pytest.fixture
def walk(tmp_path):
    made = Walk(tmp_path, TWIN, lambda line: None)
    for step in ("cameras", "table", "objects"):
        setattr(made, step, lambda: None)  # solving is tested elsewhere
    return made


def test_pictures_of_one_session_are_clicked_in_before_the_next(walk, tmp_path):
    frame = np.zeros((240, 320, 3), np.uint8)
    kept = []

    def command(steps):
        kept.append((steps, len(ObjectFolder(tmp_path / "objects"))))
        if steps.startswith("captures"):
            picture = Picture(camera=CAMERA, object="cube", place_m=(0.5, 0.02), yaw_rad=-0.3)
            Pictures(tmp_path).add("cube_0", picture, frame)
        return [sys.executable, "-c", "print('collected')"]

    over_ros.gather_over_ros(walk, LabClicker(HIDDEN, seed=0), command, lambda line: None)
    assert kept == [(over_ros.SESSIONS[0], 0), (over_ros.SESSIONS[1], 1), (over_ros.SESSIONS[2], 1)]


def test_a_session_that_fails_ends_the_grading(walk):
    asked = []

    def command(steps):
        asked.append(steps)
        return [sys.executable, "-c", "raise SystemExit(3)"]

    with pytest.raises(CalibrationError, match=r"steps:=captures.* exit code 3"):
        over_ros.gather_over_ros(walk, LabClicker(HIDDEN, seed=0), command, lambda line: None)
    assert len(asked) == 1
