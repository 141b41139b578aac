"""Chunks end where their episode ends; a mixture keeps its ratio, its seed and its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.episodes import make_store
from rlco_datasets.contract import ContractMismatchError, franka_compact
from rlco_datasets.loader import Batch, ChunkSource, Mixture
from rlco_datasets.store import EpisodeStore
from scipy.stats import binomtest

CONTRACT = franka_compact()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    path = tmp_path_factory.mktemp("real") / "store"
    return make_store(path, CONTRACT, (12, 9), instruction="grasp it")


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    path = tmp_path_factory.mktemp("sim") / "store"
    return make_store(path, CONTRACT, (3, 20, 8), seed=50, source="sim", instruction="push it")


def assert_equal(a: Batch, b: Batch) -> None:
    assert a.instructions == b.instructions
    for name in ("state", "actions", "mask", "step_in_episode"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in a.images:
        np.testing.assert_array_equal(a.images[name], b.images[name])


def test_every_chunk_is_cut_from_its_own_episode(real: EpisodeStore) -> None:
    source = ChunkSource(real, horizon=5)
    assert len(source) == 21
    batch = source.batch(np.arange(21))
    row = 0
    for index in range(len(real)):
        episode = real.episode(index)
        for step in range(len(episode)):
            left = min(5, len(episode) - step)
            assert batch.mask[row].tolist() == [True] * left + [False] * (5 - left)
            np.testing.assert_array_equal(
                batch.actions[row, :left], episode.actions[step : step + left]
            )
            assert (batch.actions[row, left:, :6] == 0).all()
            assert (batch.actions[row, left:, 6] == episode.actions[-1, 6]).all()
            np.testing.assert_array_equal(batch.state[row], episode.state[step])
            np.testing.assert_array_equal(
                batch.images["third_person"][row], episode.images["third_person"][step]
            )
            assert batch.step_in_episode[row] == step
            row += 1
    assert batch.instructions == ["grasp it"] * 21
    assert batch.actions.dtype == batch.state.dtype == np.float32
    assert ChunkSource(real).batch([0]).actions.shape == (1, CONTRACT.horizon, 7)


def test_disk_and_memory_agree(real: EpisodeStore) -> None:
    rows = [20, 3, 3, 0, 11]
    assert_equal(ChunkSource(real).batch(rows), ChunkSource(real, cache="disk").batch(rows))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_choice_of_episodes_is_all_that_is_seen(real: EpisodeStore, cache: Any) -> None:
    whole, last = ChunkSource(real), ChunkSource(real, cache=cache, episodes=[len(real) - 1])
    first = int(real.ends[-2])
    rows = np.arange(len(last))
    assert len(last) == int(real.lengths[-1])
    assert_equal(last.batch(rows), whole.batch(rows + first))
    swapped = ChunkSource(real, cache=cache, episodes=[1, 0])
    assert_equal(swapped.batch([0]), whole.batch([int(real.ends[0])]))
    with pytest.raises(IndexError, match="which has"):
        ChunkSource(real, episodes=[len(real)])


def test_a_batch_is_a_copy(real: EpisodeStore) -> None:
    source = ChunkSource(real)
    source.batch([0]).actions[:] = 9
    source.batch([0]).images["third_person"][:] = 0
    assert source.batch([0]).actions.max() <= 1
    assert source.batch([0]).images["third_person"].max() == 255


def test_rows_outside_the_store_are_refused(real: EpisodeStore) -> None:
    for rows in ([21], [-1]):
        with pytest.raises(IndexError, match=r"\[0, 21\)"):
            ChunkSource(real).batch(rows)
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        ChunkSource(real, horizon=0)
    with pytest.raises(ValueError, match="got 'gpu'"):
        ChunkSource(real, cache="gpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
def test_the_measured_ratio_is_alpha(alpha: float, real: EpisodeStore, sim: EpisodeStore) -> None:
    mixture = Mixture(
        {"sim": (ChunkSource(sim), alpha), "real": (ChunkSource(real), 1 - alpha)}, seed=3
    )
    drawn = {"sim": 0, "real": 0}
    for _ in range(100):
        batch, counts = mixture.next(50)
        assert len(batch) == 50
        for label, instruction in (("sim", "push it"), ("real", "grasp it")):
            assert batch.instructions.count(instruction) == counts[label]
            drawn[label] += counts[label]
    # A right mixture fails one seed in a million; a ratio that is off by 0.04 always does.
    assert binomtest(drawn["sim"], 5000, alpha).pvalue > 1e-6
    assert binomtest(drawn["sim"], 5000, min(1, alpha + 0.04)).pvalue < 1e-6 or alpha == 1.0


def test_steps_of_a_source_are_drawn_uniformly(sim: EpisodeStore) -> None:
    source = ChunkSource(sim)
    batch, _ = Mixture({"sim": (source, 1.0)}, seed=1).next(31 * 400)
    _, counts = np.unique(batch.state, axis=0, return_counts=True)
    distinct, expected = np.unique(source.batch(np.arange(31)).state, axis=0, return_counts=True)
    assert len(counts) == len(distinct)
    assert (np.abs(counts - 400 * expected) < 6 * np.sqrt(400 * expected)).all()


def test_sources_are_interleaved_within_a_batch(real: EpisodeStore, sim: EpisodeStore) -> None:
    batch, _ = Mixture({"r": (ChunkSource(real), 1.0), "s": (ChunkSource(sim), 1.0)}, 0).next(200)
    first = batch.instructions[:100].count("push it")
    assert 25 < first < 75


def test_seed_and_resume_are_bit_exact(real: EpisodeStore, sim: EpisodeStore) -> None:
    def mixture(seed: int) -> Mixture:
        return Mixture({"real": (ChunkSource(real), 0.4), "sim": (ChunkSource(sim), 0.6)}, seed)

    one, same, other = mixture(5), mixture(5), mixture(6)
    assert_equal(one.next(40)[0], same.next(40)[0])
    assert not np.array_equal(one.next(40)[0].state, other.next(40)[0].state)
    saved = json.loads(json.dumps(one.state_dict()))
    expected = [one.next(17) for _ in range(3)]
    resumed = mixture(99)
    resumed.load_state_dict(saved)
    for batch, counts in expected:
        again, again_counts = resumed.next(17)
        assert_equal(batch, again)
        assert counts == again_counts


def test_resuming_another_mixture_is_refused(real: EpisodeStore, sim: EpisodeStore) -> None:
    saved = Mixture({"real": (ChunkSource(real), 1.0)}, 0).state_dict()
    with pytest.raises(ValueError, match=r"saved over .*'real'.*now .*'sim'"):
        Mixture({"sim": (ChunkSource(sim), 1.0)}, 0).load_state_dict(saved)


def test_impossible_mixtures_are_refused(
    real: EpisodeStore, sim: EpisodeStore, tmp_path: Path
) -> None:
    source = ChunkSource(real)
    for weights in ((0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="weight"):
            Mixture({"a": (source, weights[0]), "b": (source, weights[1])}, 0)
    with pytest.raises(ValueError, match="weights"):
        Mixture({}, 0)
    with pytest.raises(ValueError, match="horizon 2, others have 4"):
        Mixture({"a": (source, 1.0), "b": (ChunkSource(sim, horizon=2), 1.0)}, 0)
    other = make_store(tmp_path / "other", replace(CONTRACT, control_rate_hz=20.0), (4,))
    with pytest.raises(ContractMismatchError, match=r"source 'b'.*control_rate_hz: 10.0 -> 20.0"):
        Mixture({"a": (source, 1.0), "b": (ChunkSource(other), 1.0)}, 0)
    empty = ChunkSource(EpisodeStore.create(tmp_path / "empty", CONTRACT))
    with pytest.raises(ValueError, match=r"source 'b'.*is empty"):
        Mixture({"a": (source, 1.0), "b": (empty, 1.0)}, 0)
    assert Mixture({"a": (source, 1.0), "b": (empty, 0.0)}, 0).next(4)[1] == {"a": 4, "b": 0}
