"""Photos behind the twin: kept in its file, in its hash only where there are any."""

import dataclasses

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration import cli, describe
from rlco_calibration.background import Background, from_photo
from rlco_calibration.errors import CalibrationError
from rlco_calibration.lens import Lens
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec

TWIN = load_twin(demo_bench())
NAME = TWIN.cameras[0].name
LENS = TWIN.cameras[0].lens
U, V = np.meshgrid(np.arange(320), np.arange(240))
PHOTO = np.stack([U * 255 / 319, V * 255 / 239, np.full(U.shape, 60)], axis=-1).astype(np.uint8)


def test_without_a_photo_file_and_hash_are_as_they_were(tmp_path):
    assert "backgrounds" not in spec.to_plain(TWIN)
    spec.save(TWIN, tmp_path / "twin.yaml")
    before = yaml.safe_load(demo_bench().read_text(encoding="utf-8"))
    assert set(yaml.safe_load((tmp_path / "twin.yaml").read_text())) >= set(before)
    assert load_twin(tmp_path / "twin.yaml").id == TWIN.id


def test_a_photo_stays_in_the_file_and_changes_the_hash(tmp_path):
    twin = dataclasses.replace(TWIN, backgrounds=(from_photo(NAME, LENS, PHOTO),))
    assert twin.id != TWIN.id
    spec.save(twin, tmp_path / "twin.yaml")
    again = load_twin(tmp_path / "twin.yaml")
    assert again == twin
    assert (again.id, again.background("other")) == (twin.id, None)
    off = again.background(NAME).picture.astype(int) - PHOTO
    assert np.abs(off).mean() < 1.5
    assert describe.differences(TWIN, twin) == [f"background {NAME}: another photo"]
    assert f"background of {NAME}: a photo" in describe.show(twin)


def test_the_lens_is_taken_out_of_the_photo():
    """Pixels of an ideal camera, found in the photo where the lens puts them."""
    bent = dataclasses.replace(LENS, distortion=(0.12, -0.05, 0.001, -0.001, 0.0))
    ideal = from_photo(NAME, bent, PHOTO).picture.astype(float)
    pixels = np.array([[40.0, 30.0], [280.0, 40.0], [160.0, 120.0], [60.0, 200.0]])
    rays = np.column_stack([(pixels - [LENS.cx, LENS.cy]) / [LENS.fx, LENS.fy], np.ones(4)])
    seen = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), bent.matrix, bent.coefficients)[0]
    for (u, v), (x, y) in zip(pixels.astype(int), seen[:, 0], strict=True):
        assert ideal[v, u, 0] == pytest.approx(x * 255 / 319, abs=3)
        assert ideal[v, u, 1] == pytest.approx(y * 255 / 239, abs=3)


@given(
    left=st.integers(0, 100), top=st.integers(0, 60), scale=st.sampled_from([0.25, 0.5, 1.0, 2.0])
)
def test_a_crop_sees_its_part_of_the_photo(left, top, scale):
    photo = from_photo(NAME, LENS, PHOTO)
    matrix = np.diag([scale, scale, 1.0]) @ LENS.matrix
    matrix[:2, 2] = (np.array([LENS.cx - left, LENS.cy - top]) + 0.5) * scale - 0.5
    size = (int(120 * scale), int(80 * scale))
    seen = photo.seen_by(size, matrix).astype(float)
    assert seen.shape == (size[1], size[0], 3)
    middle = seen[size[1] // 2, size[0] // 2]
    u, v = (np.array([size[0] // 2, size[1] // 2]) + 0.5) / scale - 0.5 + [left, top]
    assert middle[0] == pytest.approx(u * 255 / 319, abs=4)
    assert middle[1] == pytest.approx(v * 255 / 239, abs=4)


def test_the_command_puts_a_photo_in_and_takes_it_out(tmp_path, monkeypatch, capsys):
    picture, out = tmp_path / "photo.png", tmp_path / "with.yaml"
    cv2.imwrite(str(picture), PHOTO[..., ::-1])

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["rlco-calibrate", "background", *map(str, arguments)])
        cli.main()

    for _ in range(2):
        run("--twin", demo_bench(), "--camera", NAME, "--photo", picture, "--out", out)
    twin = load_twin(out)
    assert len(twin.backgrounds) == 1
    assert twin.id in capsys.readouterr().out
    run("--twin", out, "--camera", NAME, "--out", tmp_path / "without.yaml")
    assert load_twin(tmp_path / "without.yaml").id == TWIN.id
    with pytest.raises(SystemExit):
        run("--twin", out, "--camera", NAME, "--photo", tmp_path / "gone.png", "--out", out)
    assert "cannot be read as a picture" in capsys.readouterr().err


def test_what_is_no_photo_of_the_camera_is_named():
    with pytest.raises(CalibrationError, match="photo is 320x120, camera 'front' has 320x240"):
        from_photo("front", Lens.nominal((320, 240)), PHOTO[::2])
    good = from_photo(NAME, LENS, PHOTO)
    for text, what in (("!", "not base64"), ("", "no picture"), ("AAAA", "no picture")):
        with pytest.raises(ValueError, match=what):
            dataclasses.replace(good, jpeg_base64=text)
    with pytest.raises(ValueError, match="focal"):
        dataclasses.replace(good, fx=0.0)
    with pytest.raises(ValueError, match="background wrist: no such camera"):
        dataclasses.replace(TWIN, backgrounds=(dataclasses.replace(good, name="wrist"),))
    assert isinstance(good, Background)
