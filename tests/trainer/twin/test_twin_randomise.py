import dataclasses

import numpy as np
import pytest
from rlco_calibration.parts import Provenance
from rlco_calibration.twin import TwinError
from rlco_datasets import spec
from rlco_datasets.frames import delta_between
from rlco_trainer.twin.batch import TwinBatch
from rlco_trainer.twin.randomise import WIDEST_STD, drawn, moved_to
from rlco_trainer.twin.scene import TwinScene

pytestmark = pytest.mark.sim


def stating(twin, name, *std):
    return dataclasses.replace(twin, provenance=(Provenance(name=name, source="test", std=std),))


def test_draws_vary_what_is_uncertain_and_nothing_else(bench):
    changed = {difference.path for difference in spec.diff(bench, drawn(bench, rng(0)))}
    stated = {item.name.replace("pose", "position_m") for item in bench.provenance if item.std}
    stated -= {"cameras.third_person.intrinsics"}
    lens = {f"cameras.third_person.{name}" for name in ("fx", "fy", "cx", "cy")}
    parts = {path.partition("[")[0] for path in changed}
    assert all(any(part.startswith(name) for name in stated | lens | {"name"}) for part in parts)
    for name in stated | lens:
        assert any(part.startswith(name) for part in parts), name


def test_draws_spread_as_the_uncertainty_says_and_never_far_out(bench):
    uncertain = stating(bench, "objects.bowl.mass_kg", 0.02)
    mass = bench.object_model("bowl").mass_kg
    errors = [drawn(uncertain, rng(i)).object_model("bowl").mass_kg - mass for i in range(800)]
    assert np.abs(errors).max() <= WIDEST_STD * 0.02
    assert np.std(errors) == pytest.approx(0.88 * 0.02, rel=0.1)  # a Gaussian cut at 2 sigma
    assert abs(np.mean(errors)) < 0.003


def test_the_same_generator_draws_the_same_bench(bench):
    assert drawn(bench, rng(3)).id == drawn(bench, rng(3)).id != drawn(bench, rng(4)).id


def test_impossible_draws_are_drawn_again(bench):
    uncertain = stating(bench, "arm.gain", 0.3)
    gains = [drawn(uncertain, rng(i)).arm.gain for i in range(50)]
    assert max(gains) <= 1
    assert min(gains) < 0.8
    hopeless = stating(
        dataclasses.replace(bench, arm=dataclasses.replace(bench.arm, gain=1e-9)), "arm.gain", 1e9
    )
    with pytest.raises(TwinError, match=r"'arm.gain': 200 draws .* impossible .*Correct"):
        drawn(hopeless, rng(0))


def test_a_measured_camera_is_turned_too(bench):
    uncertain = stating(bench, "cameras.third_person.pose", 0, 0, 0, 0.01, 0.01, 0.01)
    before = bench.camera("third_person").T_base_camera
    turns = [
        delta_between(before, drawn(uncertain, rng(i)).camera("third_person").T_base_camera)
        for i in range(200)
    ]
    assert np.allclose(np.array(turns)[:, :3], 0)
    assert np.std(np.array(turns)[:, 3:], axis=0) == pytest.approx(0.0088, rel=0.25)


@pytest.mark.parametrize(
    ("name", "std", "message"),
    [
        ("table", (0.1,), "'table' has uncertainties, but names no field"),
        ("objects.spoon.mass_kg", (0.1,), "names no field"),
        ("objects.cube.size_m", (0.1,), "states 1 uncertainties, expected 3"),
        ("cameras.third_person.pose", (0.1,), r"expected 3 \(position\) or 6"),
        ("objects.cube.kind", (0.1,), "is no number"),
    ],
)
def test_an_uncertainty_of_nothing_is_an_error_that_names_the_entry(bench, name, std, message):
    with pytest.raises(TwinError, match=message):
        drawn(stating(bench, name, *std), rng(0))


def test_objects_stand_on_the_table_that_was_drawn(bench, contract, start):
    high = dataclasses.replace(
        bench,
        table=dataclasses.replace(bench.table, height_m=0.01),
        objects=tuple(
            dataclasses.replace(item, size_m=(0.044, 0.044, 0.044)) if item.name == "cube" else item
            for item in bench.objects
        ),
    )
    scene = TwinScene(high, contract, "pick_and_place", images="none")
    scene.reset(moved_to(start("pick_and_place"), bench, high))
    before = scene.object_poses()
    for _ in range(3):
        scene.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert before["cube"][2, 3] == pytest.approx(0.01 + 0.022, abs=1e-6)
    for name, pose in scene.object_poses().items():
        assert np.linalg.norm(pose[:3, 3] - before[name][:3, 3]) < 5e-4


def test_randomised_scenes_differ_and_the_others_stay_the_twin(bench, contract, start):
    batch = TwinBatch(bench, contract, "push_cube", 3, images="none", seed=1)
    drawn_batch = batch.for_task("push_cube", randomised=True)
    assert batch.for_task("push_cube") is batch
    assert drawn_batch.for_task("push_cube") is batch
    other = TwinBatch(bench, contract, "push_cube", 3, images="none", seed=1, number=1)
    others = other.for_task("push_cube", randomised=True).scenes
    ids = [scene.twin.id for scene in (*drawn_batch.scenes, *others)]
    assert len(set(ids)) == 6
    assert {scene.twin.id for scene in batch.scenes} == {bench.id}
    initial, rows = start("push_cube"), [0, 1, 2]
    ends = []
    for scenes in (batch, drawn_batch):
        scenes.reset(rows, [initial] * 3)
        for _ in range(4):
            scenes.step(rows, np.tile([0.02, 0, -0.03, 0, 0, 0, 0.0], (3, 1)))
        ends.append(scenes.privileged(rows))
    assert np.array_equal(ends[0][0], ends[0][1])
    assert not np.array_equal(ends[1][0], ends[1][1])


def rng(seed):
    return np.random.default_rng(seed)
