from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_evaluation import statistics
from rlco_evaluation.statistics import Interval, PairedCounts
from scipy import stats

counts = st.builds(
    PairedCounts,
    both=st.integers(0, 30),
    only_first=st.integers(0, 30),
    only_second=st.integers(0, 30),
    neither=st.integers(0, 30),
).filter(lambda c: c.n > 0)


@st.composite
def outcomes(draw):
    n = draw(st.integers(1, 60))
    return draw(st.integers(0, n)), n


def test_published_values():
    # Wilson of 18/20 as in evaluation guides; Clopper-Pearson of 0/10 is 1 - 0.025**(1/10).
    wilson = statistics.rate_interval(18, 20)
    assert (wilson.low, wilson.high) == pytest.approx((0.699, 0.972), abs=5e-4)
    exact = statistics.rate_interval(0, 10, method="exact")
    assert (exact.low, exact.high) == pytest.approx((0.0, 1 - 0.025**0.1))
    # Newcombe 1998 (paired), table II, the example 36, 12, 2, 0.
    paired = statistics.paired_difference_interval(
        PairedCounts(both=36, only_first=12, only_second=2, neither=0)
    )
    assert (paired.low, paired.high) == pytest.approx((0.0569, 0.3404), abs=1e-4)
    # Newcombe 1998 (independent), method 10: 56/70 - 48/80.
    unpaired = statistics.difference_interval((56, 70), (48, 80))
    assert (unpaired.low, unpaired.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    # McNemar with 1 against 9: 2 * (1 + 10) / 2**10.
    assert statistics.mcnemar_p(
        PairedCounts(both=3, only_first=1, only_second=9, neither=7)
    ) == pytest.approx(22 / 1024)
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@settings(deadline=None, max_examples=50)
@given(first=outcomes(), second=outcomes())
def test_the_unpaired_interval_is_statsmodels(first, second):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    ours = statistics.difference_interval(first, second)
    theirs = proportion.confint_proportions_2indep(*first, *second, method="newcomb")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(pairs=counts)
def test_mcnemar_is_statsmodels(pairs):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    table = [[pairs.both, pairs.only_first], [pairs.only_second, pairs.neither]]
    if pairs.only_first + pairs.only_second:
        assert statistics.mcnemar_p(pairs) == pytest.approx(
            tables.mcnemar(table, exact=True).pvalue
        )


@settings(deadline=None, max_examples=50)
@given(pairs=counts)
def test_intervals_hold_their_estimate_and_mirror(pairs):
    interval = statistics.paired_difference_interval(pairs)
    estimate = (pairs.first - pairs.second) / pairs.n
    assert -1 - 1e-9 <= interval.low <= estimate + 1e-9
    assert estimate - 1e-9 <= interval.high <= 1 + 1e-9
    swapped = PairedCounts(
        both=pairs.both,
        only_first=pairs.only_second,
        only_second=pairs.only_first,
        neither=pairs.neither,
    )
    mirror = statistics.paired_difference_interval(swapped)
    assert (mirror.low, mirror.high) == pytest.approx((-interval.high, -interval.low))
    assert statistics.mcnemar_p(swapped) == pytest.approx(statistics.mcnemar_p(pairs))


@settings(deadline=None, max_examples=50)
@given(first=outcomes(), second=outcomes())
def test_the_posterior_is_what_sampling_gives(first, second):
    probability = statistics.probability_better(first, second)
    assert probability + statistics.probability_better(second, first) == pytest.approx(1.0)
    grid = (np.arange(20000) + 0.5) / 20000
    density = stats.beta.pdf(grid, first[0] + 1, first[1] - first[0] + 1)
    below = stats.beta.cdf(grid, second[0] + 1, second[1] - second[0] + 1)
    assert probability == pytest.approx((density * below).mean(), abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(outcome=outcomes())
def test_wilson_lies_within_bounds_and_exact_is_wider_at_the_ends(outcome):
    interval = statistics.rate_interval(*outcome)
    assert 0 <= interval.low <= outcome[0] / outcome[1] <= interval.high <= 1 + 1e-12
    assert isinstance(interval, Interval)


def test_power_is_what_simulation_gives():
    rng = np.random.default_rng(0)
    n, first, second = 40, 0.75, 0.45
    a = rng.random((4000, n)) < first
    b = rng.random((4000, n)) < second
    wins, losses = (a & ~b).sum(1), (~a & b).sum(1)
    outcomes = [(int(w), int(v)) for w, v in zip(wins, losses, strict=True)]
    p = {
        (w, v): statistics.mcnemar_p(PairedCounts(both=0, only_first=w, only_second=v, neither=0))
        for w, v in set(outcomes)
    }
    rejected = [p[outcome] <= 0.05 for outcome in outcomes]
    assert statistics.mcnemar_power(first, second, n) == pytest.approx(np.mean(rejected), abs=0.025)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(6, 200), p=st.floats(0.05, 0.95))
def test_the_test_keeps_its_level(n, p):
    assert statistics.mcnemar_power(p, p, n) <= 0.05


def test_the_detectable_difference_shrinks_with_trials_and_may_not_exist():
    gains = [statistics.detectable_difference(0.5, n) for n in (30, 60, 120)]
    assert gains == sorted(gains, reverse=True)
    assert statistics.mcnemar_power(0.5 + gains[1], 0.5, 60) == pytest.approx(0.8, abs=0.01)
    assert statistics.detectable_difference(0.5, 5) is None
    assert statistics.detectable_difference(1.0, 100) is None


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        statistics.rate_interval(successes, n)
