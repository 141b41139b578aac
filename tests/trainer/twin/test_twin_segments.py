import dataclasses
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration.initial_states import sample
from rlco_datasets.contract import franka_compact
from rlco_datasets.episode import Episode, EpisodeMetadata
from rlco_datasets.frames import delta_between, look_at
from rlco_datasets.store import EpisodeStore
from rlco_trainer.twin.expert import NO_NOISE, Expert, ExpertNoise
from rlco_trainer.twin.retarget import Retargeted, bridge
from rlco_trainer.twin.scene import TwinScene
from rlco_trainer.twin.sources import Source, SourceError, cut, read_sources
from rlco_trainer.twin.tasks import TASKS, task_named

pytestmark = pytest.mark.sim


def recorded(scene, seed):
    """Return an episode as a lab's recorder would write it, with black pictures."""
    rng = np.random.default_rng([3, seed])
    initial = sample(scene.twin, scene.task.name, rng, f"demo-{seed}")
    scene.reset(initial)
    expert = Expert(scene.task.name, rng, ExpertNoise())
    states, actions = [], []
    while not scene.status().success:
        states.append(scene.state)
        action = expert.act(scene)
        actions.append(action.clean)
        scene.step(action.executed)
        assert len(states) < 80
    stamps = np.arange(len(states), dtype=np.int64) * scene.contract.period_ns
    camera = scene.contract.cameras[0]
    return Episode(
        metadata=EpisodeMetadata(
            source="real",
            task=scene.task.name,
            instruction="go",
            operator="test",
            outcome="success",
            contract_id=scene.contract.id,
            software_version="1",
            created_utc=datetime.now(UTC).isoformat(),
            initial_condition=initial,
        ),
        images={camera.name: np.zeros((len(states), camera.height, camera.width, 3), np.uint8)},
        state=np.stack(states),
        actions=np.stack(actions),
        stamps_ns={name: stamps for name in ("step", "state", f"camera/{camera.name}")},
    )


@pytest.mark.parametrize("task", sorted(TASKS))
def test_demonstrations_of_a_lab_solve_new_starts_in_the_twin(bench, shifted_bench, contract, task):
    lab = TwinScene(shifted_bench, contract, task, images="none")
    twin = TwinScene(bench, contract, task, images="none")
    sources = []
    for seed in range(4):
        episode = recorded(lab, seed)
        legs = cut(twin, episode)
        if legs is not None:
            sources.append(Source(label=f"lab#{seed}", task=task, legs=legs))
    assert len(sources) >= 2
    solved = 0
    for seed in range(8):
        rng = np.random.default_rng([4, seed])
        twin.reset(sample(bench, task, rng, "new"))
        actor = Retargeted(sources[seed % len(sources)], rng, ExpertNoise(translation=0.05))
        for _ in range(80):
            twin.step(actor.act(twin).executed)
            if twin.status().success:
                break
        solved += twin.status().success
    assert solved >= 4


def test_legs_follow_one_another_and_each_starts_at_its_object(bench, contract):
    scene = TwinScene(bench, contract, "pick_and_place", images="none")
    first, second = cut(scene, recorded(scene, 0))
    ends_at_cube = np.linalg.norm(first.T_object_target[:, :2, 3], axis=1).min()
    ends_at_bowl = np.linalg.norm(second.T_object_target[-8:, :2, 3], axis=1).min()
    assert ends_at_cube < 0.02
    assert ends_at_bowl < 0.03
    assert first.gripper[0] == 1
    assert first.gripper[-1] == second.gripper[0] == 0
    assert second.gripper[-1] == 1


def test_a_source_played_from_its_own_start_goes_its_own_way(bench, contract):
    scene = TwinScene(bench, contract, "open_drawer", images="none")
    episode = recorded(scene, 1)
    legs = cut(scene, episode)
    scene.reset(episode.metadata.initial_condition)
    actor = Retargeted(Source(label="s", task="open_drawer", legs=legs), np.random.default_rng(0))
    ways = []
    while not actor.done:
        scene.step(actor.act(scene).executed)
        ways.append(scene.T_base_tcp[:3, 3])
    assert scene.status().success or scene.status().milestone == "open"
    recorded_way = episode.state[:, :3]
    far = [np.linalg.norm(recorded_way - point, axis=1).min() for point in ways]
    assert max(far) < 0.03


def test_what_cannot_seed_is_counted_and_none_is_an_error(bench, contract, tmp_path):
    scene = TwinScene(bench, contract, "push_cube", images="none")
    good = recorded(scene, 0)
    nowhere = dataclasses.replace(
        good, metadata=dataclasses.replace(good.metadata, initial_condition=None)
    )
    elsewhere = sample(bench, "push_cube", np.random.default_rng(99), "elsewhere")
    wrong = dataclasses.replace(
        good, metadata=dataclasses.replace(good.metadata, initial_condition=elsewhere)
    )
    other = dataclasses.replace(good, metadata=dataclasses.replace(good.metadata, task="juggle"))
    with EpisodeStore.create(tmp_path / "demos", contract) as store:
        for episode in (nowhere, good, wrong, other):
            store.append(episode)
        report = read_sources([store], scene)
        assert [source.label for source in report.sources] == ["demos#1"]
        assert (report.without_start, report.not_solved) == (1, 1)
    with EpisodeStore.create(tmp_path / "bad", contract) as store:
        store.append(nowhere)
        with pytest.raises(SourceError, match=r"push_cube.*1 have no initial condition.*Record"):
            read_sources([store], scene)


def test_the_label_leads_to_the_leg_from_wherever_the_noise_went(bench, contract):
    scene = TwinScene(bench, contract, "push_cube", images="none")
    legs = cut(scene, recorded(scene, 0))
    source = Source(label="s", task="push_cube", legs=legs)
    scene.reset(sample(bench, "push_cube", np.random.default_rng(5), "c"))
    noisy = Retargeted(source, np.random.default_rng(0), ExpertNoise(translation=0.3))
    quiet = Retargeted(source, np.random.default_rng(0), NO_NOISE)
    one, other = noisy.act(scene), quiet.act(scene)
    assert np.array_equal(one.clean, other.clean)
    assert not np.array_equal(one.executed, one.clean)
    assert np.array_equal(other.executed, other.clean)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_segment_ends_at_a_milestone_and_the_last_at_success(task):
    found = task_named(task)
    ends = [found.milestones.index(segment.until) for segment in found.segments()]
    assert ends == sorted(set(ends))
    assert found.segments()[-1].until == "success"


@given(far=st.floats(0, 0.5), yaw=st.floats(-1.5, 1.5), direction=st.floats(0, 6.2))
def test_a_bridge_is_made_of_steps_that_the_contract_allows(far, yaw, direction):
    contract = franka_compact()
    start = look_at((0.4, 0.0, 0.3), (0.5, 0.1, 0.0))
    c, s = np.cos(yaw), np.sin(yaw)
    end = start.copy()
    end[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ start[:3, :3]
    end[:3, 3] += far * np.array([np.cos(direction), np.sin(direction), 0])
    way = [start, *bridge(start, end, contract), end]
    for here, there in pairwise(way):
        step = delta_between(here, there)
        assert np.linalg.norm(step[:3]) <= contract.max_translation_m
        assert np.linalg.norm(step[3:]) <= contract.max_rotation_rad
