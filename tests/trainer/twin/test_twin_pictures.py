import dataclasses

import cv2
import numpy as np
import pytest
from rlco_trainer.twin.batch import TwinBatch
from rlco_trainer.twin.scene import TwinScene

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def scene(bench, contract):
    return TwinScene(bench, contract, "pick_and_place")


def red_centre(frame):
    """Return the centroid (u, v) of the red cube."""
    colour = frame.astype(int)
    mask = (colour[..., 0] > 100) & (colour[..., 0] > 2 * colour[..., 1])
    v, u = np.nonzero(mask)
    assert len(u) > 10
    return np.array([u.mean(), v.mean()])


def expected_centre(scene, intrinsics, distortion=(0.0,) * 5):
    """Return where the cube's centre is projected to, in pixels."""
    camera = scene.twin.camera("third_person")
    point = np.linalg.inv(camera.T_base_camera) @ scene.object_poses()["cube"][:, 3]
    pixel, _ = cv2.projectPoints(
        point[:3].reshape(1, 1, 3), np.zeros(3), np.zeros(3), intrinsics, np.array(distortion)
    )
    return pixel.ravel()


def test_the_cube_is_seen_where_the_camera_model_says(scene, bench, start):
    for seed in range(3):
        scene.reset(start("pick_and_place", seed))
        frame = scene.source_frame("third_person")
        assert frame.shape == (240, 320, 3)
        expected = expected_centre(scene, bench.camera("third_person").intrinsics)
        assert np.linalg.norm(red_centre(frame) - expected) < 2.0


def test_lens_distortion_moves_the_picture_as_opencv_says(bench, contract, start):
    camera = bench.cameras[0]
    lens = (-0.3, 0.1, 0.0, 0.0, 0.0)
    bent = dataclasses.replace(bench, cameras=(dataclasses.replace(camera, distortion=lens),))
    scene = TwinScene(bent, contract, "pick_and_place", images="source")
    scene.reset(start("pick_and_place", 1))
    seen = red_centre(scene.source_frame("third_person"))
    assert np.linalg.norm(seen - expected_centre(scene, camera.intrinsics, lens)) < 2.0
    straight = expected_centre(scene, camera.intrinsics)
    assert np.linalg.norm(straight - seen) > np.linalg.norm(
        expected_centre(scene, camera.intrinsics, lens) - seen
    )


def test_the_policy_view_agrees_with_the_cropped_source_frame(bench, contract, start):
    images = []
    for mode in ("policy", "source"):
        scene = TwinScene(bench, contract, "pick_and_place", images=mode)
        scene.reset(start("pick_and_place", 2))
        images.append(scene.observe().images["third_person"].astype(float))
    assert images[0].shape == (64, 64, 3)
    assert np.abs(images[0] - images[1]).mean() < 2.0


def test_noise_is_of_the_stated_size_and_repeats(bench, contract, start):
    camera = dataclasses.replace(bench.cameras[0], noise_std=4.0)
    noisy = TwinScene(
        dataclasses.replace(bench, cameras=(camera,)), contract, "pick_and_place", images="source"
    )
    frames = []
    for _ in range(2):
        noisy.reset(start("pick_and_place"))
        frames.append([noisy.source_frame("third_person") for _ in range(2)])
    assert np.array_equal(frames[0][0], frames[1][0])
    difference = frames[0][0].astype(float) - frames[0][1]
    assert difference.std() / np.sqrt(2) == pytest.approx(4.0, rel=0.1)


def test_a_batch_shows_each_row_its_own_scene(bench, contract, start, scene):
    batch = TwinBatch(bench, contract, "pick_and_place", 3)
    initials = [start("pick_and_place", seed) for seed in range(3)]
    batch.reset([0, 1, 2], initials)
    seen = batch.observe([2, 0])
    assert seen.images["third_person"].shape == (2, 64, 64, 3)
    assert seen.state.shape == (2, 10)
    scene.reset(initials[2])
    assert np.array_equal(seen.images["third_person"][0], scene.observe().images["third_person"])
    assert np.array_equal(seen.privileged[0], scene.privileged())


def test_a_scene_without_images_says_so(bench, contract, start):
    blind = TwinScene(bench, contract, "push_cube", images="none")
    blind.reset(start("push_cube"))
    assert blind.observe().images == {}
    with pytest.raises(RuntimeError, match="no cameras"):
        blind.source_frame("third_person")
