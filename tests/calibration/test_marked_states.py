"""Initial states from marked positions."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rlco_calibration.errors import CalibrationError
from rlco_calibration.initial_states import sample
from rlco_calibration.marked_states import (
    Mark,
    Marks,
    MeasuredStates,
    _yaw_range,
    fitted,
    positions,
    reach_m,
    with_states,
)
from rlco_calibration.twin import demo_bench, load_twin

TWIN = load_twin(demo_bench())
CORNERS = ((0.42, -0.15), (0.58, -0.15), (0.58, 0.1), (0.42, 0.1))


def touched(places, **changes):
    marks = tuple(Mark(object="cube", touched_m=(x, y, 0.01), **changes) for x, y in places)
    return Marks(task="push_cube", marks=marks)


def fit(marks):
    return fitted(marks, positions(marks, on_table), TWIN)


def on_table(pixels):
    return np.column_stack([pixels / 1000, np.zeros(len(pixels))])


def cube(states):
    return next(place for place in states.placements if place.name == "cube")


inside = st.tuples(st.floats(0.3, 0.6), st.floats(-0.3, 0.3))


@given(places=st.lists(inside, min_size=4, max_size=9), margin=st.floats(0, 0.05))
def test_the_region_covers_the_marks_and_no_more_than_the_margin(places, margin):
    goal = (0.62, 0.0)
    assume(any(math.dist(place, goal) > 0.25 for place in places))
    marks = touched(places)
    marks = Marks(task=marks.task, marks=marks.marks, margin_m=margin)
    place = cube(fit(marks))
    x, y = np.array(places).T
    for bounds, values, low, high in (
        (place.x_m, x, TWIN.workspace.low_m[0], TWIN.workspace.high_m[0]),
        (place.y_m, y, TWIN.workspace.low_m[1], TWIN.workspace.high_m[1]),
    ):
        assert bounds[0] == pytest.approx(max(values.min() - margin, low))
        assert bounds[1] == pytest.approx(min(values.max() + margin, high))


@given(
    middle=st.floats(-math.pi, math.pi),
    spread=st.lists(st.floats(-1, 1), min_size=2, max_size=8),
    margin=st.floats(0, 0.3),
)
def test_yaws_are_covered_by_the_smallest_range_across_the_turn_too(middle, spread, margin):
    low, high = _yaw_range([middle + part for part in spread], margin)
    assert high - low == pytest.approx(max(spread) - min(spread) + 2 * margin, abs=1e-9)
    for part in spread:
        from_low = (middle + part - low + 1e-6) % (2 * math.pi)
        assert from_low <= high - low + 2e-6
    assert -2 * math.pi < low <= high < 2 * math.pi + 0.3


def test_all_yaws_are_a_whole_turn():
    assert _yaw_range([0.0, 2.1, 4.2], 1.2) == (-math.pi, math.pi)


def test_marked_states_reach_the_twin_and_are_drawn_from():
    states = fit(touched(CORNERS))
    twin = with_states(
        TWIN, MeasuredStates(states=(states,), sources={"push_cube": "4 marks"}, marked={})
    )
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = {item.name: item for item in sample(twin, "push_cube", rng, "x").objects}["cube"]
        assert 0.42 <= drawn.position_m[0] <= 0.58
        assert -0.15 <= drawn.position_m[1] <= 0.1
    assert twin.task("pick_and_place") == TWIN.task("pick_and_place")
    assert twin.task("push_cube").instruction == TWIN.task("push_cube").instruction
    assert "4 marks" in {item.name: item.source for item in twin.provenance}[
        "tasks.push_cube.placements"
    ]  # fmt: skip


def test_clicked_marks_are_where_their_pixels_meet_the_table():
    marks = tuple(Mark(object="cube", pixel=(1000 * x, 1000 * y)) for x, y in CORNERS)
    place = cube(fit(Marks(task="push_cube", marks=marks, camera="front")))
    assert place.x_m == pytest.approx((0.42, 0.58))


def test_the_reach_is_that_of_a_stretched_arm():
    assert reach_m(0.0) == pytest.approx(0.797, abs=0.002)
    assert reach_m(0.3) < reach_m(0.123) == pytest.approx(0.088 + 0.7195, abs=1e-3)


@pytest.mark.parametrize(
    ("marks", "what"),
    [
        (touched(CORNERS[:3]), "3 marks of 'cube', at least 4"),
        (touched([*CORNERS, (0.9, 0.0)]), "mark 5 of 'cube' at .* outside the workspace"),
        (touched([*CORNERS, (0.78, 0.3)]), "mark 5 of 'cube' at .* out of the arm's reach"),
        (touched([(420.0, -150.0)] * 4), "Millimetres"),
        (Marks(task="push_cube", marks=(Mark(object="spoon", touched_m=(0.5, 0, 0)),) * 4),
         "does not place 'spoon'"),
        (Marks(task="dance", marks=touched(CORNERS).marks), "no 'dance'"),
    ],
)  # fmt: skip
def test_marks_that_cannot_be_are_named(marks, what):
    with pytest.raises(CalibrationError, match=what):
        fit(marks)


def test_marks_that_leave_no_room_are_named():
    bowl = tuple(Mark(object="bowl", touched_m=(0.5, 0.0, 0.0)) for _ in range(4))
    cubes = tuple(Mark(object="cube", touched_m=(0.5, 0.01, 0.0)) for _ in range(4))
    with pytest.raises(CalibrationError, match="leave no room"):
        fit(Marks(task="pick_and_place", marks=bowl + cubes))


def test_a_mark_has_one_position_and_margins_are_in_metres():
    with pytest.raises(ValueError, match="one of touched_m and pixel"):
        Mark(object="cube")
    with pytest.raises(ValueError, match="Metres"):
        Marks(task="push_cube", marks=(), margin_m=20.0)
