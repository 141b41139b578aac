"""Videos: every control step is in them, and they say how the episode ended."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fakes.toy_scenes import LocalPool, ToyBatch, make_job, make_policy
from rlco_trainer.episodes import PolicyPackage
from rlco_trainer.film import Filmed, FilmError, film, write_film


def read(path):
    video, frames = cv2.VideoCapture(str(path)), []
    while (got := video.read())[0]:
        frames.append(got[1])
    return frames, video.get(cv2.CAP_PROP_FPS)


def test_a_film_has_a_frame_a_step_and_the_contracts_rate(tmp_path):
    policy = make_policy()
    pool = LocalPool([ToyBatch(2), ToyBatch(2)])
    paths = film(pool, PolicyPackage.of(policy), [make_job(3)], tmp_path / "v", max_steps=7)
    assert [path.name for path in paths] == [f"start-{i:03d}.mp4" for i in range(3)]
    for path in paths:
        frames, rate_hz = read(path)
        assert len(frames) == 8  # seven steps, and where they led
        assert rate_hz == policy.contract.control_rate_hz
        assert frames[0].shape[0] >= 256


@pytest.mark.parametrize(("success", "green"), [(True, True), (False, False)])
def test_the_last_caption_tells_how_it_ended(tmp_path, success, green):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    item = Filmed(condition="a", success=success, milestone="grasped", frames=frames)
    write_film(tmp_path / "a.mp4", item, 10.0)
    caption = read(tmp_path / "a.mp4")[0][-1][-18:].reshape(-1, 3).astype(int)
    ink = caption[np.ptp(caption, axis=1) > 40]
    assert len(ink) > 20
    assert (ink[:, 1].mean() > ink[:, 2].mean()) == green


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    item = Filmed(
        condition="a", success=True, milestone="", frames=np.zeros((1, 8, 8, 3), np.uint8)
    )
    with pytest.raises((FilmError, NotADirectoryError, FileExistsError)):
        write_film(tmp_path / "file" / "a.mp4", item, 10.0)
