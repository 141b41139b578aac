"""Colours, lights and noise: by a toy renderer, and of a hidden lab by the twin's own."""

from dataclasses import replace

import numpy as np
import pytest
from rlco_calibration import appearance, appearance_fit, cli
from rlco_calibration.errors import CalibrationError
from rlco_calibration.initial_states import sample, stood
from rlco_calibration.lens import Lens
from rlco_calibration.results import CameraResult, value_at
from rlco_calibration.simulators import ARM_NAME, Look
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec

BENCH = load_twin(demo_bench())
SMALL = replace(
    BENCH.cameras[0], width=96, height=72, fx=84.0, fy=84.0, cx=47.5, cy=35.5, noise_std=0.0
)
TWIN = replace(BENCH, cameras=(SMALL,))
START = sample(TWIN, "push_cube", np.random.default_rng(0), "seen")
COLOURS = ("table.colour", "objects.cube.colour", "lighting.backdrop_colour")
RECTANGLES = {ARM_NAME: (2, 30, 5, 40), "cube": (40, 56, 40, 56), "goal": (40, 58, 66, 84)}


def coloured(twin):
    """Another bench: other colours, darker, and lit from elsewhere."""
    cube = replace(twin.object_model("cube"), colour=(0.7, 0.2, 0.15))
    light = twin.lighting
    return replace(
        twin,
        table=replace(twin.table, colour=(0.5, 0.58, 0.33)),
        objects=tuple(cube if item.name == "cube" else item for item in twin.objects),
        lighting=replace(
            light,
            ambient=(0.3, 0.32, 0.28),
            directional=(0.6, 0.65, 0.62),
            direction=(-0.05, 0.7, -1.0),
            backdrop_colour=(0.7, 0.72, 0.9),
        ),
    )


def shade(twin, normal):
    light = twin.lighting
    way = np.array(light.direction) / np.linalg.norm(light.direction)
    lit = max(float(-np.array(normal) @ way), 0.0)
    return np.array(light.ambient) + lit * np.array(light.directional)


def toy(twin, camera, start):
    """Flat rectangles on the table; the arm is white and faces four ways."""
    model = twin.camera(camera)
    frame = np.empty((model.height, model.width, 3))
    table = appearance_fit._on_table(twin, model)
    up = shade(twin, (0, 0, 1))
    frame[table] = np.array(twin.table.colour) * up
    frame[~table] = np.array(twin.lighting.backdrop_colour) * shade(twin, (0, -1, 0))
    masks = {}
    for name, (top, bottom, left, right) in RECTANGLES.items():
        masks[name] = np.zeros(frame.shape[:2], bool)
        masks[name][top:bottom, left:right] = True
        if name != ARM_NAME:
            frame[masks[name]] = np.array(twin.object_model(name).colour) * up
    top, bottom, left, right = RECTANGLES[ARM_NAME]
    facing = ((0, 0, 1), (0.6, 0, 0.8), (0, -0.6, 0.8), (-0.6, 0, 0.8), (0, -1, 0))
    for index, normal in enumerate(facing):
        frame[top:bottom, left + 7 * index : left + 7 * index + 7] = 0.85 * shade(twin, normal)
    frame = 255 * np.clip(frame, 0, 1) ** (1 / 2.2)
    return Look(frame=np.rint(frame).astype(np.uint8), masks=masks)


def burst(look=toy, noise=0.0, count=1, twin=None, name="seen"):
    frame = look(coloured(TWIN) if twin is None else twin, SMALL.name, START).frame
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(np.rint(frame + rng.normal(0, noise, frame.shape)), 0, 255) for _ in range(count)
    ]
    seen = appearance.Seen(camera=SMALL.name, start=START)
    return appearance.Burst(name=name, seen=seen, frames=tuple(f.astype(np.uint8) for f in noisy))


def by_name(found):
    return {item.name: item for item in found.quantities}


def test_colours_and_lights_are_found_with_intervals_that_hold():
    found = appearance_fit.fit(TWIN, [burst(noise=2.0)], toy)
    true, items = coloured(TWIN), by_name(found.quantities)
    lights = ("lighting.ambient", "lighting.directional")
    for path, most in (*((path, 0.02) for path in COLOURS), *((path, 0.05) for path in lights)):
        for index, truth in enumerate(value_at(true, path)):
            item = items[f"{path}[{index}]"]
            assert item.identified
            assert abs(item.value - truth) < most
            assert abs(item.value - truth) < 0.5 * abs(value_at(TWIN, path)[index] - truth) + 0.01
    held = [item.low <= value_at(true, name) <= item.high for name, item in items.items()]
    assert np.mean(held) >= 0.85
    real, before, now = found.pictures["seen"]
    assert np.abs(real - now).mean() < 0.3 * np.abs(real - before).mean()


def test_what_is_hidden_or_saturated_is_refused_and_the_rest_is_found():
    def glaring(twin, camera, start):
        shown = toy(twin, camera, start)
        shown.frame[shown.masks["cube"]] = 255
        return replace(shown, masks={k: m & (k != "goal") for k, m in shown.masks.items()})

    found = by_name(appearance_fit.fit(TWIN, [burst(glaring)], glaring).quantities)
    for name, why in (("cube", "pixels are saturated"), ("goal", "it is not seen")):
        item = found[f"objects.{name}.colour[0]"]
        assert not item.identified
        assert why in item.source
    assert found["table.colour[0]"].identified


def test_lights_stay_as_they_were_where_the_arm_is_not_seen():
    def armless(twin, camera, start):
        shown = toy(twin, camera, start)
        return replace(shown, masks=shown.masks | {ARM_NAME: shown.masks["cube"] & False})

    found = by_name(appearance_fit.fit(TWIN, [burst(armless)], armless).quantities)
    assert not found["lighting.ambient[0]"].identified
    assert "arm" in found["lighting.ambient[0]"].source
    assert found["objects.cube.colour[0]"].identified


def test_pictures_that_cannot_be_used_are_named():
    seen = burst()
    wide = replace(seen, frames=(np.zeros((10, 20, 3), np.uint8),))
    with pytest.raises(CalibrationError, match=r"seen: the frame is 20x10, camera .* 96x72"):
        appearance_fit.fit(TWIN, [wide], toy)
    white = replace(seen, frames=(np.full_like(seen.frames[0], 255),) * 2)
    with pytest.raises(CalibrationError, match="is everything saturated"):
        appearance_fit.fit(TWIN, [white], toy)
    with pytest.raises(CalibrationError, match="100% of the frame is saturated"):
        appearance.noise(SMALL.name, [white])
    same = replace(seen, frames=seen.frames * 2)
    with pytest.raises(CalibrationError, match="the frames are the same one"):
        appearance.noise(SMALL.name, [same])
    assert appearance.noise(SMALL.name, [seen]) is None


@pytest.mark.parametrize("std", [0.7, 3.0])
def test_noise_is_told_by_successive_frames(std):
    found = appearance.noise(SMALL.name, [burst(noise=std, count=3)])
    assert found.name == f"cameras.{SMALL.name}.noise_std"
    assert found.value == pytest.approx(std, rel=0.05)
    assert found.low <= std <= found.high


def test_a_burst_is_kept_and_read_again_and_a_camera_must_be_measured(tmp_path):
    with pytest.raises(CalibrationError, match="Collect them first"):
        appearance.load(tmp_path)
    one = burst(noise=2.0, count=2)
    appearance.keep(tmp_path, one.name, one.seen, one.frames)
    (again,) = appearance.load(tmp_path)
    assert (again.name, again.seen) == (one.name, one.seen)
    np.testing.assert_array_equal(again.frames, one.frames)
    with pytest.raises(CalibrationError, match="keep 1 to 10 frames, got 0"):
        appearance.keep(tmp_path, "none", one.seen, ())
    with pytest.raises(CalibrationError, match="is not measured yet"):
        Walk(tmp_path, TWIN, lambda line: None).appearance(None)
    (tmp_path / "appearance" / "seen_0.png").write_bytes(b"torn")
    with pytest.raises(CalibrationError, match=r"no readable seen_0\.png"):
        appearance.load(tmp_path)


def test_the_command_names_what_is_missing(tmp_path, monkeypatch, capsys):
    words = ["rlco-calibrate", "appearance", "--folder", str(tmp_path), "--frames", "a.png"]
    given = [
        *words,
        "--camera",
        "third_person",
        "--task",
        "push_cube",
        "--tcp-m",
        "0.4",
        "0",
        "0.3",
    ]
    for arguments, message in (
        (words, "--frames need --camera"),
        ([*given, "--at", "cube", "0.5", "0.1", "0"], "see 'goal'"),
        ([*given, "--at", "cube", "0.5", "0.1", "0", "goal", "0.6", "0", "0"], "a.png: cannot be"),
    ):
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit):
            cli.main()
        assert message in capsys.readouterr().err


def measured(folder, twin):
    """Say in a folder that the twin's camera was measured as it is, and the table."""
    camera = twin.cameras[0]
    lens = Lens(
        size=(camera.width, camera.height), fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy,
        distortion=camera.distortion,
    )  # fmt: skip
    spec.save(
        CameraResult(
            camera=camera.name, setup="eye_to_hand", position_m=camera.position_m,
            quaternion_wxyz=camera.quaternion_wxyz, position_std_m=(1e-4,) * 3,
            rotation_std_rad=(1e-4,) * 3, degrees=20.0, lens=lens, lens_std=(0.1,) * 9,
            rms_px=0.1, left_out_px=0.1, captures=20, baselines_m={}, baselines_wxyz={},
        ),
        folder / "results" / f"camera_{camera.name}.yaml",
    )  # fmt: skip


@pytest.mark.sim
@pytest.mark.slow
def test_the_look_of_a_hidden_lab_goes_into_the_twin(tmp_path):
    from rlco.lab.draw import draw_lab
    from rlco_datasets.contract import franka_compact
    from rlco_trainer.replay_in_twin import TwinSimulator
    from rlco_trainer.twin.scene import TwinScene

    hidden = draw_lab(BENCH, seed=2)
    measured(tmp_path, hidden)
    scene = TwinScene(hidden, franka_compact(), "push_cube", images="source")
    name = hidden.cameras[0].name
    for index, tcp_m in enumerate(((0.36, 0.28, 0.4), (0.5, 0.0, 0.3))):
        start = sample(BENCH, "push_cube", np.random.default_rng(index), f"push_cube_{index}")
        start = stood(hidden, replace(start, tcp_position_m=tcp_m))
        scene.reset(start)
        frames = [scene.source_frame(name) for _ in range(2)]
        appearance.keep(tmp_path, start.name, appearance.Seen(camera=name, start=start), frames)
    walk = Walk(tmp_path, BENCH, lambda line: None)
    found = by_name(walk.appearance(TwinSimulator(franka_compact())))
    assert walk.picture("appearance").is_file()
    twin = walk.twin()
    for path in ("table.colour", "objects.cube.colour", "objects.goal.colour"):
        truth, before = (np.array(value_at(one, path)) for one in (hidden, BENCH))
        assert np.abs(before - truth).min() > 0.029
        assert np.abs(np.array(value_at(twin, path)) - truth).max() < 0.015
    for path in ("lighting.ambient", "lighting.directional"):
        truth = np.array(value_at(hidden, path))
        assert np.abs(np.array(value_at(twin, path)) - truth).max() < 0.05
    assert twin.cameras[0].noise_std == pytest.approx(hidden.cameras[0].noise_std, rel=0.05)
    held = [item.low <= value_at(hidden, key) <= item.high for key, item in found.items()]
    assert np.mean(held) >= 0.85
    sources = {item.name: item for item in twin.provenance}
    assert "made like 2 pictures" in sources["table.colour"].source
    assert all(std > 0 for std in sources["table.colour"].std)
