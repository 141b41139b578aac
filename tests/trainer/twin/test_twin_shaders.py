"""The changed shaders draw what SAPIEN's own draw, without the wait."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from rlco_trainer.twin import shaders

pytestmark = pytest.mark.sim
DRAW = """
import sys
import numpy as np
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets.contract import franka_compact
from rlco_trainer.twin import shaders
from rlco_trainer.twin.scene import TwinScene

if sys.argv[1] == "own":
    shaders._changed = lambda: None
twin = load_twin(demo_bench())
pictures = {}
for task in ("pick_and_place", "open_drawer"):
    scene = TwinScene(twin, franka_compact(), task, images="source", seed=0)
    scene.reset(sample(twin, task, np.random.default_rng(0), "start"))
    pictures[task] = scene.source_frame("third_person")
np.savez(sys.argv[2], **pictures)
"""


@pytest.fixture
def fresh():
    """Forget what was found before, and after."""
    shaders._changed.cache_clear()
    yield
    shaders._changed.cache_clear()


@pytest.mark.slow
def test_pictures_are_those_of_sapiens_own_shaders(tmp_path):
    for name in ("own", "changed"):
        words = [sys.executable, "-c", DRAW, name, str(tmp_path / f"{name}.npz")]
        subprocess.run(words, check=True, timeout=900)
    own, changed = (np.load(tmp_path / f"{name}.npz") for name in ("own", "changed"))
    for task in own:
        assert own[task].std() > 10
        np.testing.assert_array_equal(changed[task], own[task])


def test_this_sapiens_shaders_can_be_changed_and_are_kept(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = shaders._changed()
    assert folder is not None
    assert folder.is_relative_to(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not any(shaders.TABLE in path.read_text() for path in before)
    assert {path.name for path in tmp_path.glob("rlco/*")} == {folder.parent.name}
    shaders._changed.cache_clear()
    assert shaders._changed() == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_where_they_cannot_be_kept_sapiens_own_are_used_and_it_is_said(
    fresh, monkeypatch, tmp_path, caplog
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert shaders._changed() is None
    assert "SAPIEN's own shaders are used" in caplog.text


def test_other_shaders_than_expected_are_left_as_they_are(fresh, monkeypatch, caplog):
    monkeypatch.setattr(shaders, "LOOKED_UP", "texture(another, x)")
    with caplog.at_level(logging.WARNING):
        assert shaders._changed() is None
    assert "other shaders than expected" in caplog.text
