"""A real photo behind the twin: behind everything, and where the camera saw it."""

import dataclasses

import cv2
import numpy as np
import pytest
from rlco_calibration.background import from_photo
from rlco_calibration.initial_states import sample
from rlco_datasets.contract import franka_compact
from rlco_datasets.images import policy_image
from rlco_trainer.twin.scene import TwinScene

pytestmark = pytest.mark.sim

TASK = "pick_and_place"
U, V = np.meshgrid(np.arange(320), np.arange(240))
PHOTO = np.stack([U * 0.6, 255 - V * 0.8, np.full(U.shape, 200.0)], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def twins(bench):
    """A bench without noise, seen through a lens, and the same with a photo behind it."""
    camera = dataclasses.replace(
        bench.cameras[0], noise_std=0.0, distortion=(0.1, -0.05, 0.001, -0.001, 0.0)
    )
    plain = dataclasses.replace(bench, cameras=(camera,))
    photo = from_photo(camera.name, camera.lens, PHOTO)
    return plain, dataclasses.replace(plain, backgrounds=(photo,))


def seen(twin, contract, images):
    scene = TwinScene(twin, contract, TASK, images=images)
    scene.reset(sample(twin, TASK, np.random.default_rng(0), "start"))
    return scene


@pytest.fixture(scope="module")
def scenes(twins):
    return [seen(twin, franka_compact(), "source") for twin in twins]


def test_the_photo_is_seen_where_the_twin_has_nothing(scenes):
    plain, photographed = (scene.source_frame("third_person") for scene in scenes)
    behind = (np.abs(photographed.astype(int) - PHOTO).max(axis=-1) < 8) & (
        np.abs(plain.astype(int) - PHOTO).max(axis=-1) > 20
    )
    before = (photographed == plain).all(axis=-1)
    assert behind.mean() > 0.08
    assert before.mean() > 0.5
    edges = ~behind & ~before  # pixels that mix both where the lens resamples
    assert edges.mean() < 0.02
    assert behind[:20, 45:75].all()
    assert before[-40:].all()


def test_arm_and_objects_are_in_front_of_the_photo(scenes):
    plain, photographed = scenes
    name = "third_person"
    theirs, ours = plain.source_frame(name), photographed.source_frame(name)
    kernel = np.ones((5, 5), np.uint8)
    for entity in ("cube", "bowl", "panda_hand"):
        mask = plain.source_entities(name)[entity]
        np.testing.assert_array_equal(mask, photographed.source_entities(name)[entity])
        inside = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
        assert inside.any(), entity
        np.testing.assert_array_equal(ours[inside], theirs[inside])


def test_the_policys_image_agrees_with_the_camera(twins):
    camera = franka_compact().cameras[0]
    image = seen(twins[1], franka_compact(), "policy").observe().images[camera.name]
    real = policy_image(PHOTO, camera)
    corner = (slice(0, 5), slice(0, 10))
    assert np.abs(image[corner].astype(int) - real[corner]).max() < 8
