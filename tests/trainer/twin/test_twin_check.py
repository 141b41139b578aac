"""What the gate asks of the simulator: demonstrations replayed, and the arm told apart."""

from dataclasses import replace

import numpy as np
import pytest
from rlco_calibration.check_demos import compare
from rlco_calibration.demonstration import of_episode
from rlco_calibration.initial_states import sample
from rlco_calibration.outline import ARM, MOVABLE, SURROUNDINGS, align
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets.contract import franka_compact
from rlco_datasets.episode import Episode, EpisodeMetadata
from rlco_datasets.frames import pose_matrix, quaternion_wxyz
from rlco_trainer.replay_in_twin import TwinSimulator
from rlco_trainer.twin.expert import Expert, ExpertNoise
from rlco_trainer.twin.scene import TwinScene

pytestmark = pytest.mark.sim

TWIN = load_twin(demo_bench())
CONTRACT = franka_compact()
TASK = "pick_and_place"


def vector(pose):
    return np.concatenate([pose[:3, 3], quaternion_wxyz(pose[:3, :3])])


@pytest.fixture(scope="module")
def episode():
    """A noisy expert's demonstration, as a lab would record it."""
    scene = TwinScene(TWIN, CONTRACT, TASK, images="none")
    rng = np.random.default_rng(1)
    start = sample(TWIN, TASK, rng, "start")
    scene.reset(start)
    expert = Expert(TASK, rng, ExpertNoise(), CONTRACT)
    state, actions, executed, cube = [], [], [], []
    while not scene.status().success and len(state) < 60:
        action = expert.act(scene)
        state.append(scene.state)
        actions.append(action.clean)
        cube.append(vector(scene.object_pose("cube")))
        scene.step(action.executed)
        executed.append(vector(scene.T_base_target))
    assert scene.status().success
    steps = len(state)
    return Episode(
        metadata=EpisodeMetadata(
            source="real",
            task=TASK,
            instruction=TWIN.task(TASK).instruction,
            operator="expert",
            outcome="success",
            contract_id=CONTRACT.id,
            software_version="0",
            created_utc="2026-11-22T00:00:00+00:00",
            initial_condition=start,
        ),
        images={"third_person": np.zeros((steps, 64, 64, 3), np.uint8)},
        state=np.stack(state),
        actions=np.stack(actions),
        stamps_ns={"step": np.arange(steps, dtype=np.int64) * CONTRACT.period_ns},
        extras={"executed_target": np.stack(executed), "object_cube": np.stack(cube)},
    )


def replayed(twin, episode):
    demo = of_episode(episode, CONTRACT, "one")
    return compare(demo, TwinSimulator(CONTRACT).demonstrate(twin, demo.recording), 0.1)


def test_the_same_bench_does_the_same(episode):
    error = replayed(TWIN, episode)
    assert error.position_mm.max() < 0.1
    assert error.rotation_deg.max() < 0.1
    assert error.gripper_s < 0.01
    assert error.object_mm < 1.0
    assert error.solved


def test_another_controller_is_found_out(episode):
    soft = replace(TWIN, arm=replace(TWIN.arm, gain=0.6, delay_s=0.1))
    error = replayed(soft, episode)
    assert np.sqrt(np.mean(error.position_mm**2)) > 15
    assert error.gripper_s == pytest.approx(0.1, abs=0.05)


def test_the_arm_is_told_apart_and_a_moved_camera_shows():
    pose = pose_matrix((0.5, -0.05, 0.2), np.diag([1.0, -1.0, -1.0]))
    camera = TWIN.camera("third_person")
    x, y, z = camera.position_m
    moved = replace(TWIN, cameras=(replace(camera, position_m=(x - 0.03, y, z)),))
    simulator = TwinSimulator(CONTRACT)
    real = simulator.view(TWIN, camera.name, pose)
    assert {SURROUNDINGS, ARM, MOVABLE} == set(np.unique(real.labels))
    assert np.mean(real.labels == ARM) > 0.03
    same, other = (
        np.abs(align(real.frame, simulator.view(twin, camera.name, pose).labels).offsets_px)
        for twin in (TWIN, moved)
    )
    assert np.median(same) <= 0.5
    assert np.median(other) > 2.0
