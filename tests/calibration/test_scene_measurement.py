import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration import scene
from rlco_calibration.errors import CalibrationError
from rlco_calibration.results import CameraResult, with_camera, with_quantities
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec

TWIN = load_twin(demo_bench())
XY = [(x, y) for x in (0.35, 0.45, 0.55) for y in (-0.2, 0.2)]


def touches(height_m, noise=None, slope=0.0):
    noise = np.zeros(len(XY)) if noise is None else noise
    return scene.Touches(
        positions_m=tuple(
            (x, y, height_m + scene.TIP_M + slope * (x - 0.45) + float(n))
            for (x, y), n in zip(XY, noise, strict=True)
        )
    )


@given(height_m=st.floats(-0.05, 0.05), seed=st.integers(0, 1000))
def test_the_table_is_where_it_was_touched(height_m, seed):
    noise = np.random.default_rng(seed).normal(0, 2e-4, len(XY))
    found = scene.table_height(touches(height_m, noise)).quantities[0]
    assert found.value == pytest.approx(height_m, abs=5e-4)
    assert found.low < height_m < found.high


def test_a_slope_is_named():
    assert "slopes by 30 mm/m" in scene.table_height(touches(0.0, slope=0.03)).notes[0]


def test_a_touch_of_something_else_is_named():
    noise = np.zeros(len(XY))
    noise[3] = 0.02
    with pytest.raises(CalibrationError, match="touch 4"):
        scene.table_height(touches(0.0, noise))


def test_touches_must_be_enough_and_spread():
    few = scene.Touches(positions_m=touches(0.0).positions_m[:3])
    with pytest.raises(CalibrationError, match="at least 4"):
        scene.table_height(few)
    line = scene.Touches(positions_m=tuple((0.3 + 0.1 * i, 0.0, 0.01) for i in range(5)))
    with pytest.raises(CalibrationError, match="one line"):
        scene.table_height(line)


def test_a_board_that_contradicts_the_touches_is_named():
    found = scene.table_height(touches(0.002), board_m=(0.012, 0.001))
    assert "the board says 12.0 mm" in found.notes[0]


def test_ruler_numbers_reach_the_twin_with_their_source(tmp_path):
    path = tmp_path / "ruler.yaml"
    path.write_text(
        "entries:\n- {name: objects.cube.mass_kg, value: 0.071, std: 0.001, tool: kitchen scale}\n"
        "- {name: table.height_m, value: -0.004, std: 0.001}\n"
    )
    twin = with_quantities(TWIN, spec.load(scene.Ruler, path).quantities())
    assert twin.object_model("cube").mass_kg == 0.071
    assert twin.table.height_m == -0.004
    source = {item.name: item for item in twin.provenance}["objects.cube.mass_kg"]
    assert source.source == "measured by hand (kitchen scale)"
    assert source.std == (0.001,)


def test_one_of_a_fields_numbers_is_set_and_the_others_keep_their_uncertainty():
    before = {item.name: item for item in TWIN.provenance}["objects.cube.size_m"]
    entries = tuple(
        scene.RulerEntry(name=f"objects.cube.size_m[{i}]", value=value, std=0.0001, tool=tool)
        for i, value, tool in ((2, 0.05, "ruler"), (0, 0.03, "ruler"), (2, 0.051, "calipers"))
    )
    twin = with_quantities(TWIN, scene.Ruler(entries=entries).quantities())
    assert twin.object_model("cube").size_m == (0.03, 0.04, 0.051)
    after = {item.name: item for item in twin.provenance}["objects.cube.size_m"]
    assert after.std == (0.0001, before.std[1], 0.0001)
    assert after.source.count("[2]") == 1
    assert "[2] measured by hand (calipers)" in after.source


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("table.height_m", 40.0, "Millimetres"),
        ("objects.spoon.mass_kg", 0.1, "no objects.spoon"),
        ("table.colour_of_wood", 1.0, "cannot set"),
        ("objects.cube.mass_kg", -1.0, "cannot set"),
        ("objects.cube.size_m[2]", 40.0, "Millimetres"),
        ("objects.cube.size_m[3]", 0.04, "cannot set"),
        ("objects.cube.size_m[z]", 0.04, "which number"),
        ("objects.spoon.size_m[0]", 0.04, "no objects.spoon"),
    ],
)
def test_impossible_ruler_numbers_are_named(name, value, what):
    ruler = scene.Ruler(entries=(scene.RulerEntry(name=name, value=value, std=0.1),))
    with pytest.raises(CalibrationError, match=what):
        with_quantities(TWIN, ruler.quantities())


def test_a_measured_camera_reaches_the_twin_with_its_uncertainty():
    camera = TWIN.cameras[0]
    from rlco_calibration.lens import Lens

    result = CameraResult(
        camera=camera.name,
        setup="eye_to_hand",
        position_m=(0.7, -0.5, 0.5),
        quaternion_wxyz=camera.quaternion_wxyz,
        position_std_m=(1e-3, 1e-3, 1e-3),
        rotation_std_rad=(1e-3, 1e-3, 1e-3),
        degrees=20.0,
        lens=Lens(size=(320, 240), fx=281.0, fy=281.0, cx=160.0, cy=120.0),
        lens_std=(1.0,) * 9,
        rms_px=0.2,
        left_out_px=0.2,
        captures=20,
        baselines_m={},
        baselines_wxyz={},
    )
    twin = with_camera(TWIN, result)
    assert twin.cameras[0].position_m == (0.7, -0.5, 0.5)
    assert twin.cameras[0].fx == 281.0
    sources = {item.name: item for item in twin.provenance}
    assert len(sources["cameras.third_person.pose"].std) == 6
    assert "20 captures" in sources["cameras.third_person.intrinsics"].source
    assert not with_quantities(twin, scene.Ruler(entries=()).quantities()).hidden
