"""What goes into an episode store comes out, by our reader and by zarr's."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from fakes.episodes import make_episode, make_metadata, make_store
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_datasets.contract import ContractMismatchError, franka_compact, franka_third_person
from rlco_datasets.episode import Episode, EpisodeError, EpisodeMetadata
from rlco_datasets.reading import ArrayReader
from rlco_datasets.store import EpisodeStore, StoreError
from rlco_datasets.zarr_array import ZarrArray

CONTRACT = franka_compact()


def assert_same(ours: Episode, theirs: Episode) -> None:
    assert ours.metadata == theirs.metadata
    for name in ("images", "stamps_ns", "extras"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert set(a) == set(b)
        for key in a:
            assert a[key].dtype == b[key].dtype
            np.testing.assert_array_equal(a[key], b[key])
    np.testing.assert_array_equal(ours.state, theirs.state)
    np.testing.assert_array_equal(ours.actions, theirs.actions)


def test_an_episode_comes_back_as_it_was(tmp_path: Path) -> None:
    episodes = [make_episode(CONTRACT, steps, seed) for seed, steps in enumerate((7, 1, 30))]
    with EpisodeStore.create(tmp_path / "store", CONTRACT) as store:
        assert [store.append(episode) for episode in episodes] == [0, 1, 2]
        assert_same(store.episode(1), episodes[1])
    store = EpisodeStore.open(tmp_path / "store", contract=CONTRACT)
    assert len(store) == 3
    assert store.lengths.tolist() == [7, 1, 30]
    assert store.contract == CONTRACT
    for index, episode in enumerate(episodes):
        assert_same(store.episode(index), episode)
    assert_same(store.episode(-1), episodes[-1])
    with pytest.raises(IndexError, match="has 3 episodes, asked for number 3"):
        store.episode(3)


def test_images_of_several_cameras_are_kept_apart(tmp_path: Path) -> None:
    camera = CONTRACT.cameras[0]
    contract = replace(CONTRACT, cameras=(camera, replace(camera, name="wrist")))
    store = make_store(tmp_path / "store", contract, (5,))
    assert_same(store.episode(0), make_episode(contract, 5, 0))
    assert {"camera_third_person", "camera_wrist"} <= set(store.keys)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    chunk_rows=st.integers(1, 9),
    row_shape=st.sampled_from([(), (3,), (2, 2)]),
)
def test_rows_survive_any_chunk_boundary(
    lengths: list[int],
    chunk_rows: int,
    row_shape: tuple[int, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("array")
    rows = np.random.default_rng(sum(lengths)).normal(size=(sum(lengths), *row_shape))
    array = ZarrArray.for_rows(folder, rows, chunk_rows=chunk_rows)
    start = 0
    for steps in lengths:
        array.write(start, rows[start : start + steps])
        start += steps
        array.set_rows(start)
    assert ZarrArray.load(folder) == (array, start)
    assert array.strays(start) == array.missing(start) == []
    np.testing.assert_array_equal(ArrayReader(folder).rows(slice(0, start)), rows)


def test_steps_gathers_rows_in_the_order_asked_for(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", CONTRACT, (12, 9))
    frames = np.concatenate([store.episode(i).images["third_person"] for i in range(2)])
    rows = [20, 0, 13, 13, 5]
    np.testing.assert_array_equal(store.steps("camera_third_person", rows), frames[rows])
    assert store.steps("state", []).shape == (0, 10)
    assert store.steps("state", slice(3, 7)).shape == (4, 10)
    with pytest.raises(StoreError, match=r"rows 3 to 21 asked for, the store has rows 0 to 20"):
        store.steps("state", [3, 21])
    with pytest.raises(StoreError, match=r"no array 'actions', only .*'action'"):
        store.steps("actions", [0])


def test_zarr_reads_what_we_wrote(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", CONTRACT, (12, 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = zarr.open(str(tmp_path / "store"), mode="r", zarr_format=2)
        arrays = dict(root["data"].arrays())
    np.testing.assert_array_equal(root["meta/episode_ends"][:], [12, 21])
    assert set(arrays) == set(store.keys)
    for key, array in arrays.items():
        # What diffusion_policy's ReplayBuffer asserts of every array in data/.
        assert array.shape[0] == root["meta/episode_ends"][-1]
        np.testing.assert_array_equal(array[:], store.steps(key, slice(None)))
    assert root["data/camera_third_person"].chunks == (1, 64, 64, 3)


def test_a_store_grows_over_several_sessions(tmp_path: Path) -> None:
    make_store(tmp_path / "store", CONTRACT, (12,))
    with EpisodeStore.open(tmp_path / "store", "a", CONTRACT) as store:
        assert store.recovered is None
        assert store.append(make_episode(CONTRACT, 5, 9)) == 1
    assert EpisodeStore.open(tmp_path / "store").lengths.tolist() == [12, 5]


def test_reading_changes_no_file(tmp_path: Path) -> None:
    make_store(tmp_path / "store", CONTRACT, (4,))
    stray = tmp_path / "store" / "data" / "camera_third_person" / "4.0.0.0"
    stray.write_bytes(b"half a chu")
    before = {p: p.stat().st_mtime_ns for p in sorted((tmp_path / "store").rglob("*"))}
    store = EpisodeStore.open(tmp_path / "store")
    store.episode(0)
    assert store.recovered is None
    assert (store.tail.steps, store.tail.files) == (1, 1) if store.tail else False
    assert {p: p.stat().st_mtime_ns for p in sorted((tmp_path / "store").rglob("*"))} == before


def test_metadata_round_trips_through_its_line(tmp_path: Path) -> None:
    metadata = make_metadata(CONTRACT, operator="José\nline", flags=("rate_missed",), seed=None)
    with EpisodeStore.create(tmp_path / "store", CONTRACT) as store:
        store.append(replace(make_episode(CONTRACT), metadata=metadata))
    assert EpisodeStore.open(tmp_path / "store").metadata(0) == metadata
    text = (tmp_path / "store/meta/episodes.jsonl").read_text()
    assert json.loads(text)["instruction"] == "put the cube in the bowl"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("instruction", " ", "instruction must not be empty"),
        ("source", "simulated", "source must be real or sim, got 'simulated'"),
        ("outcome", "ok", "outcome must be success or failure, got 'ok'"),
        ("created_utc", "2026-11-22T10:00:00", "has no UTC offset"),
        ("created_utc", "yesterday", "yesterday"),
    ],
)
def test_metadata_is_checked(field: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_metadata(CONTRACT, **{field: value})


def refused(episode: Episode, tmp_path: Path, message: str) -> None:
    """The episode is refused and the store is as it was."""
    make_store(tmp_path / "store", CONTRACT, (4,))
    with EpisodeStore.open(tmp_path / "store", "a") as store:
        with pytest.raises((EpisodeError, StoreError), match=message):
            store.append(episode)
        assert store.append(make_episode(CONTRACT, 3)) == 1
    assert EpisodeStore.open(tmp_path / "store").tail is None


@pytest.mark.parametrize(
    ("field", "place", "value", "message"),
    [
        ("actions", (3, 1), np.nan, r"actions is nan at step 3, index \(1,\)"),
        ("actions", (2, 0), 0.3, "translation at step 2 is 0.3.* m, the contract allows 0.05 m"),
        ("actions", (2, 5), -0.9, "rotation at step 2 is 0.9.* rad, the contract allows 0.2 rad"),
        ("actions", (5, 6), 1.1, "gripper at step 5 is 1.1"),
        ("actions", (5, 6), -0.01, "gripper at step 5 is -0.01"),
        ("state", (1, 9), np.inf, r"state is inf at step 1, index \(9,\)"),
    ],
)
def test_bad_values_are_refused(
    field: str, place: tuple[int, int], value: float, message: str, tmp_path: Path
) -> None:
    episode = make_episode(CONTRACT, 6)
    getattr(episode, field)[place] = value
    refused(episode, tmp_path, message)


def test_an_action_at_its_limit_is_accepted(tmp_path: Path) -> None:
    episode = make_episode(CONTRACT, 6)
    episode.actions[:, :6] = 0
    episode.actions[:, 0] = CONTRACT.max_translation_m
    episode.actions[:, 4] = -CONTRACT.max_rotation_rad
    with EpisodeStore.create(tmp_path / "store", CONTRACT) as store:
        store.append(episode)
        episode.actions[3, 0] += 2e-6
        with pytest.raises(EpisodeError, match="translation at step 3"):
            store.append(episode)


def test_wrong_shapes_and_dtypes_are_refused(tmp_path: Path) -> None:
    episode = make_episode(CONTRACT, 6)
    frames = episode.images["third_person"]
    cases = [
        (replace(episode, state=episode.state[:5]), r"state is float32 \(5, 10\), expected"),
        (replace(episode, state=episode.state.astype(float)), "state is float64"),
        (replace(episode, images={"third_person": frames[:, :32]}), r"third_person.*\(6, 32, 64"),
        (replace(episode, images={"wrist": frames}), r"cameras \['wrist'\]"),
        (replace(episode, actions=episode.actions[:0]), "no steps"),
        (replace(episode, extras={"a/b": episode.state}), "'a/b' must be an identifier"),
        (replace(episode, extras={"a": np.array(["x"] * 6)}), "only numbers"),
        (replace(episode, metadata=replace(episode.metadata, contract_id="f" * 16)), "contract"),
    ]
    for number, (bad, message) in enumerate(cases):
        refused(bad, tmp_path / str(number), message)


def test_stamps_must_increase(tmp_path: Path) -> None:
    episode = make_episode(CONTRACT, 6)
    step = episode.stamps_ns["step"]
    backwards = step.copy()
    backwards[4] = backwards[3]
    cases = [
        ({"step": backwards}, "'step'.* does not increase at step 4"),
        ({"state": step}, "lacks the stream 'step'"),
        ({"step": step, "camera/third_person": step[::-1].copy()}, "camera/third_person"),
        ({"step": step, "../x": step}, "'../x' must be words joined by slashes"),
        ({"step": step.astype(float)}, "float64"),
    ]
    for number, (stamps, message) in enumerate(cases):
        refused(replace(episode, stamps_ns=stamps), tmp_path / str(number), message)
    held = episode.stamps_ns | {"camera/third_person": step // 2_000_000_000}
    with EpisodeStore.create(tmp_path / "held", CONTRACT) as store:
        store.append(replace(episode, stamps_ns=held))


def test_every_episode_has_the_same_arrays(tmp_path: Path) -> None:
    episode = make_episode(CONTRACT, 6)
    refused(replace(episode, extras={}), tmp_path / "a", "has the arrays")
    other = {"operator_target": np.zeros((6, 3))}
    refused(
        replace(episode, extras=other), tmp_path / "b", r"extra_operator_target is float64 \(3,"
    )


def test_another_contract_is_refused_by_name_of_the_fields(tmp_path: Path) -> None:
    make_store(tmp_path / "store", CONTRACT, (4,))
    with pytest.raises(ContractMismatchError, match="horizon: 8 -> 4") as caught:
        EpisodeStore.open(tmp_path / "store", "a", franka_third_person())
    assert str(tmp_path) in str(caught.value)


def test_an_episode_metadata_is_frozen() -> None:
    metadata: EpisodeMetadata = make_metadata(CONTRACT)
    with pytest.raises(AttributeError):
        metadata.outcome = "failure"  # type: ignore[misc]
