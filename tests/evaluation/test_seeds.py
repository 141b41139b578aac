"""Means over seeds against hand-worked numbers."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_evaluation.seeds import SeedMean, markdown_table, mean_difference, mean_rate


def test_interval_of_three_seeds_is_students() -> None:
    # mean .6, sd .1, t(.975, 2) = 4.3027: reach = 4.3027 * .1 / sqrt(3) = .24841
    mean = mean_rate([0.5, 0.6, 0.7])
    assert mean.mean == pytest.approx(0.6)
    assert mean.interval is not None
    assert mean.interval.low == pytest.approx(0.6 - 0.24841, abs=1e-4)
    assert mean.interval.high == pytest.approx(0.6 + 0.24841, abs=1e-4)


def test_one_seed_has_no_interval() -> None:
    assert mean_rate([0.5]).interval is None


@pytest.mark.parametrize(
    ("mean", "values"),
    [
        (mean_rate, []),
        (mean_rate, [float("nan")]),
        (mean_rate, [0.5, 60.0]),
        (mean_rate, [-0.1, 0.1]),
        (mean_difference, [-1.1, 0.0]),
    ],
)
def test_what_is_no_rate_is_refused(
    mean: Callable[[list[float]], SeedMean], values: list[float]
) -> None:
    with pytest.raises(ValueError, match="one a seed; got"):
        mean(values)


@given(st.lists(st.floats(0, 0.01), min_size=2, max_size=8), st.floats(-0.5, 0.5))
def test_interval_moves_with_the_values(values: list[float], shift: float) -> None:
    a, b = mean_difference(values), mean_difference([value + shift for value in values])
    assert a.interval is not None
    assert b.interval is not None
    assert b.interval.low == pytest.approx(a.interval.low + shift, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_interval_lies_around_the_mean_and_within_what_a_rate_can_be(values: list[float]) -> None:
    mean = mean_rate(values)
    assert mean.interval is not None
    assert 0 <= mean.interval.low <= mean.mean <= mean.interval.high <= 1


def test_table_pairs_seeds_before_averaging() -> None:
    table = markdown_table({"lab": {"old": [0.2, 0.4], "new": [0.3, 0.5]}}, [("new", "old")])
    assert "| new | 40 [0, 100] (30, 50) |" in table
    assert "| *new minus old* | 10 [10, 10] (10, 10) |" in table
