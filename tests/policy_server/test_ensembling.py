from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_policy_server.ensembling import ChunkHistory

PERIOD_NS = 100_000_000


def chunk(value: float, horizon: int = 4) -> np.ndarray:
    return np.full((horizon, 7), value, np.float32)


def test_the_first_chunk_is_sent_as_it_is() -> None:
    history = ChunkHistory(decay=0.1, period_ns=PERIOD_NS)
    np.testing.assert_array_equal(history.blend(chunk(1.0), 5), chunk(1.0))


def test_overlapping_actions_are_weighted_oldest_first() -> None:
    history = ChunkHistory(decay=np.log(2), period_ns=PERIOD_NS)
    history.blend(chunk(0.0), 0)
    history.blend(chunk(1.0), 2 * PERIOD_NS)
    sent = history.blend(chunk(2.0), 3 * PERIOD_NS)[:, 0]
    # time 3: chunks 0, 1 and 2 with weights 1, 1/2, 1/4; times 4, 5: chunks 1 and 2; then chunk 2
    np.testing.assert_allclose(sent, [(0.5 + 0.5) / 1.75, 4 / 3, 4 / 3, 2.0], rtol=1e-6)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.floats(0, 2), st.floats(-1, 1))
def test_chunks_that_agree_stay_as_they_are(gaps: list[int], decay: float, value: float) -> None:
    history, stamp_ns = ChunkHistory(decay=decay, period_ns=PERIOD_NS), 0
    for gap in gaps:
        stamp_ns += gap * PERIOD_NS
        sent = history.blend(chunk(value), stamp_ns)
        np.testing.assert_allclose(sent, chunk(value), rtol=1e-5, atol=1e-7)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-1, 1, width=32)), min_size=1, max_size=10))
def test_an_average_stays_between_what_is_averaged(steps: list[tuple[int, float]]) -> None:
    history, stamp_ns, seen = ChunkHistory(decay=0.3, period_ns=PERIOD_NS), 1, []
    for gap, value in steps:
        stamp_ns += gap * PERIOD_NS
        seen.append(value)
        sent = history.blend(chunk(value), stamp_ns)
        assert min(seen) - 1e-6 <= sent.min() <= sent.max() <= max(seen) + 1e-6


def test_a_clock_that_goes_back_begins_anew() -> None:
    history = ChunkHistory(decay=0.0, period_ns=PERIOD_NS)
    history.blend(chunk(0.0), 5 * PERIOD_NS)
    np.testing.assert_array_equal(history.blend(chunk(1.0), PERIOD_NS), chunk(1.0))
    np.testing.assert_array_equal(history.blend(chunk(3.0), 2 * PERIOD_NS)[:3], chunk(2.0)[:3])


def test_a_negative_decay_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        ChunkHistory(decay=-1, period_ns=PERIOD_NS)
