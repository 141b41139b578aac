import dataclasses

import numpy as np
import pytest
import sapien
import sapien.physx as physx
from rlco_calibration.twin import TwinError
from rlco_datasets.frames import inverse
from rlco_trainer.twin.cabinet import CabinetBody, cabinet_pose
from rlco_trainer.twin.expert import Expert
from rlco_trainer.twin.scene import TwinScene
from rlco_trainer.twin.tasks import drawer as geometry
from rlco_trainer.twin.tasks import task_named

pytestmark = pytest.mark.sim

DRIVES = ("open_drawer", "close_drawer")


@pytest.fixture(scope="module")
def model(bench):
    return bench.drawer("drawer")


@pytest.fixture(scope="module")
def opening(bench, contract):
    return TwinScene(bench, contract, "open_drawer", images="none")


def pulled(model, force_n, seconds=1.0):
    """Return the drawer's speed (m/s) and way (m) under a constant force from half open."""
    scene = sapien.Scene([physx.PhysxCpuSystem()])
    scene.set_timestep(0.02)
    cabinet = CabinetBody(scene, model, cabinet_pose(model), 0.5)
    start = float(cabinet.articulation.get_qpos()[0])
    for _ in range(round(seconds / 0.02)):
        cabinet.articulation.set_qf([force_n])
        scene.step()
    velocity = np.linalg.norm(cabinet.velocity_m_per_s)
    return velocity, float(cabinet.articulation.get_qpos()[0]) - start


def test_the_joint_has_the_friction_and_the_damping_of_the_twin_in_newtons(model):
    long = dataclasses.replace(
        model,
        size_m=(3.0, *model.size_m[1:]),
        travel_m=2.0,
        joint_friction_n=1.5,
        joint_damping_n_s_per_m=8.0,
    )
    assert abs(pulled(long, 1.4)[1]) < 0.001
    for force_n in (2.3, 4.0):
        assert pulled(long, force_n)[0] == pytest.approx((force_n - 1.5) / 8.0, rel=0.02)


def test_the_handle_slides_along_the_cabinets_axis_by_the_travel(opening, start, model):
    initial = start("open_drawer", 3)
    poses = {}
    for fraction in (0.0, 1.0):
        opening.reset(dataclasses.replace(initial, drawer_open=fraction))
        poses[fraction] = opening.object_poses()
        assert geometry.opened(opening) == pytest.approx(fraction, abs=1e-5)
    placed = initial.objects[0].T_base_object
    assert np.allclose(poses[0.0]["drawer"], placed, atol=1e-6)
    assert np.allclose(poses[0.0]["drawer_handle"], placed @ model.T_cabinet_handle, atol=1e-6)
    moved = inverse(poses[0.0]["drawer_handle"]) @ poses[1.0]["drawer_handle"]
    assert np.allclose(moved[:3, 3], (-model.travel_m, 0, 0), atol=1e-5)


def test_a_cabinet_that_the_condition_does_not_place_stands_where_the_twin_says(
    opening, start, model
):
    opening.reset(dataclasses.replace(start("open_drawer"), objects=()))
    assert np.allclose(opening.object_poses()["drawer"], cabinet_pose(model), atol=1e-6)


@pytest.mark.parametrize("task", DRIVES)
def test_a_drawer_in_place_is_no_success_before_the_fingers_are_off_it(
    bench, contract, start, task
):
    scene = TwinScene(bench, contract, task, images="none")
    scene.reset(start(task, 1))
    expert = Expert(task, np.random.default_rng(1))
    in_place = task_named(task).milestones[2]
    while scene.status().milestone != in_place:
        scene.step(expert.act(scene).executed)
    while expert.phase not in ("loosen", "back"):
        assert not scene.status().success
        scene.step(expert.act(scene).executed)
    for _ in range(12):
        scene.step(expert.act(scene).executed)
    assert scene.status().success
    assert scene.reward() == 1.0


def test_opening_and_closing_do_not_count_for_each_other(bench, contract, start):
    for task, fraction, other in (("open_drawer", 0.0, 1.0), ("close_drawer", 1.0, 0.0)):
        scene = TwinScene(bench, contract, task, images="none")
        for opened, solved in ((fraction, False), (other, True)):
            scene.reset(dataclasses.replace(start(task), drawer_open=opened))
            for _ in range(8):
                scene.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
            assert scene.status().success is solved
            assert (scene.reward() > 0.9) is solved


def test_a_drawer_is_drawn_where_it_is(bench, contract, start):
    """What moves in the picture when the drawer opens is around where the handle was and is."""
    scene = TwinScene(bench, contract, "open_drawer", images="source")
    frames, handles = [], []
    for fraction in (0.0, 1.0):
        scene.reset(dataclasses.replace(start("open_drawer"), drawer_open=fraction))
        frames.append(scene.source_frame("third_person").astype(float))
        handles.append(scene.object_poses()["drawer_handle"][:, 3])
    changed = np.argwhere(np.abs(frames[0] - frames[1]).max(axis=-1) > 20)
    camera = bench.camera("third_person")
    for handle in handles:
        u, v, w = camera.intrinsics @ (inverse(camera.T_base_camera) @ handle)[:3]
        assert np.linalg.norm(changed - (v / w, u / w), axis=1).min() < 4
    assert len(changed) < 0.1 * frames[0].shape[0] * frames[0].shape[1]


def test_a_bench_without_a_drawer_says_so(bench, contract):
    tasks = tuple(
        dataclasses.replace(task, placements=()) if task.name in DRIVES else task
        for task in bench.tasks
    )
    bare = dataclasses.replace(bench, drawers=(), tasks=tasks)
    with pytest.raises(TwinError, match=r"no 'drawer' among its drawers"):
        TwinScene(bare, contract, "open_drawer", images="none")
