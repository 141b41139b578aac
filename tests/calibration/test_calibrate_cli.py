import dataclasses
import sys

import pytest
from rlco_calibration import cli, describe
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.initial_condition import ConditionList

TWIN = load_twin(demo_bench())


@pytest.fixture
def calibrate(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rlco-calibrate", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    return run


def moved_bench():
    camera = TWIN.cameras[0]
    x, y, z = camera.position_m
    return dataclasses.replace(
        TWIN,
        cameras=(dataclasses.replace(camera, position_m=(x + 0.003, y, z - 0.004)),),
        arm=dataclasses.replace(TWIN.arm, delay_s=0.06),
        table=dataclasses.replace(TWIN.table, friction=0.25),
    )


def test_show_names_the_cameras_objects_tasks_and_sources(calibrate):
    text = calibrate("show", demo_bench())
    for part in ("third_person", "40 x 40 x 40 mm", "pick_and_place", "source of lighting"):
        assert part in text


def test_diff_speaks_in_millimetres_degrees_and_milliseconds(calibrate, tmp_path):
    spec.save(moved_bench(), tmp_path / "moved.yaml")
    lines = calibrate("diff", demo_bench(), tmp_path / "moved.yaml").splitlines()
    assert lines == [
        "camera third_person: moved 5.0 mm (+3.0, +0.0, -4.0), turned 0.00 deg",
        "arm: delay 0 -> 60 ms",
        "table.friction: 0.5 -> 0.25",
    ]


def test_diff_of_equal_twins_says_so(calibrate):
    assert calibrate("diff", demo_bench(), demo_bench()).strip() == "the twins are equal"


def test_a_camera_turned_in_place_is_reported():
    camera = TWIN.cameras[0]
    w, x, y, z = camera.quaternion_wxyz
    half = 0.00872654
    turned = (w - half * z, x - half * y, y + half * x, z + half * w)
    other = dataclasses.replace(
        TWIN, cameras=(dataclasses.replace(camera, quaternion_wxyz=turned),)
    )
    assert describe.differences(TWIN, other) == [
        "camera third_person: moved 0.0 mm (+0.0, +0.0, +0.0), turned 1.00 deg"
    ]


def test_conditions_are_written_as_one_list_and_repeat_for_a_seed(calibrate, tmp_path):
    for name in ("a.yaml", "b.yaml"):
        calibrate(
            "conditions", "--twin", demo_bench(), "--task", "push_cube", "--n", 5, "--seed", 2,
            "--out", tmp_path / name,
        )  # fmt: skip
    drawn = spec.load(ConditionList, tmp_path / "a.yaml")
    assert len(drawn.conditions) == 5
    assert (tmp_path / "a.yaml").read_text() == (tmp_path / "b.yaml").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "missing.yaml"),
        ("conditions", "--twin", demo_bench(), "--task", "sing", "--n", 1, "--out", "x.yaml"),
        ("conditions", "--twin", demo_bench(), "--task", "push_cube", "--n", 0, "--out", "x.yaml"),
    ],
)
def test_a_bad_request_is_one_line_and_status_2(calibrate, capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        calibrate(*arguments)
    assert raised.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
