from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.episodes import make_store
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError, franka_compact
from rlco_datasets.statistics import ACTION_STD_FLOOR, STATE_STD_FLOOR, Normalisation, compute
from rlco_datasets.store import EpisodeStore

CONTRACT = franka_compact()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Normalisation, np.ndarray, np.ndarray]:
    folder = tmp_path_factory.mktemp("stores")
    stores = [make_store(folder / str(n), CONTRACT, (20, 11), seed=10 * n) for n in range(2)]
    episodes = [store.episode(i) for store in stores for i in range(2)]
    states = np.concatenate([episode.state for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    return compute(stores), states.astype(float), actions.astype(float)


def test_moments_and_quantiles_are_numpys(
    found: tuple[Normalisation, np.ndarray, np.ndarray],
) -> None:
    statistics, states, actions = found
    assert statistics.count == 62
    assert statistics.contract_id == CONTRACT.id
    for name, values, floor in (
        ("state", states, STATE_STD_FLOOR),
        ("action", actions, ACTION_STD_FLOOR),
    ):
        for part, expected in {
            "mean": values.mean(0),
            "std": np.maximum(values.std(0), floor),
            "min": values.min(0),
            "max": values.max(0),
            "q01": np.quantile(values, 0.01, axis=0),
            "q99": np.quantile(values, 0.99, axis=0),
        }.items():
            np.testing.assert_allclose(getattr(statistics, f"{name}_{part}"), expected)


def test_normalised_data_has_no_mean_and_unit_deviation(
    found: tuple[Normalisation, np.ndarray, np.ndarray],
) -> None:
    statistics, _, actions = found
    normalised = statistics.normalise_action(actions)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(0), 1, atol=1e-5)


@given(values=arrays(np.float64, (3, 10), elements=st.floats(-10, 10)))
def test_normalisation_is_undone(
    found: tuple[Normalisation, np.ndarray, np.ndarray], values: np.ndarray
) -> None:
    statistics = found[0]
    back = statistics.unnormalise_state(statistics.normalise_state(values))
    np.testing.assert_allclose(back, values, rtol=1e-5, atol=1e-5)
    actions = values[:, :7]
    back = statistics.unnormalise_action(statistics.normalise_action(actions))
    np.testing.assert_allclose(back, actions, rtol=1e-5, atol=1e-5)


def test_a_dimension_that_never_moves_does_not_blow_up(tmp_path: Path) -> None:
    from fakes.episodes import make_episode

    episode = make_episode(CONTRACT, 10)
    episode.actions[:, 3:6] = 0
    episode.actions[:, 6] = 1
    with EpisodeStore.create(tmp_path / "still", CONTRACT) as store:
        store.append(episode)
        statistics = compute([store])
    assert statistics.action_std[3:] == (ACTION_STD_FLOOR,) * 4
    assert np.isfinite(statistics.normalise_action(episode.actions)).all()


def test_yaml_keeps_every_bit(
    found: tuple[Normalisation, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    spec.save(found[0], tmp_path / "normalisation.yaml")
    assert spec.load(Normalisation, tmp_path / "normalisation.yaml") == found[0]


def test_impossible_statistics_are_refused(
    found: tuple[Normalisation, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="action_std must be positive"):
        replace(found[0], action_std=(0.0,) * 7)
    with pytest.raises(ValueError, match="state vectors differ in length"):
        replace(found[0], state_min=(0.0,))
    with pytest.raises(ValueError, match="is above"):
        replace(found[0], action_q01=(9.0,) * 7)
    with pytest.raises(ValueError, match="no steps"):
        compute([])
    empty = EpisodeStore.create(tmp_path / "empty", CONTRACT)
    with pytest.raises(ValueError, match=r"empty.*record episodes first"):
        compute([empty])
    other = make_store(tmp_path / "other", replace(CONTRACT, horizon=3, executed_steps=3), (4,))
    with pytest.raises(ContractMismatchError, match="horizon"):
        compute([make_store(tmp_path / "one", CONTRACT, (4,)), other])
