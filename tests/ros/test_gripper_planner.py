"""From width targets to gripper actions, against a hand that takes its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco.core.grip import GripAction, GripPlanner
from rlco.parameters import GripperSettings, ParameterError

MAX_M, HYSTERESIS_M = 0.08, 0.005


class Hand:
    """Moves 2 mm a tick; a grasp ends at `object_m` or at its target; a stop ends at once."""

    def __init__(self, width_m=MAX_M, object_m=0.0):
        self.width_m, self.object_m = width_m, object_m
        self.target_m = None
        self.done = []
        self.planner = GripPlanner(hysteresis_m=HYSTERESIS_M, max_width_m=MAX_M)

    def tick(self):
        busy = self.target_m is not None
        action = self.planner.next(busy=busy, width_m=self.width_m)
        if action is not None:
            self.done.append(action)
            assert busy == (action.verb == "stop"), "one thing at a time"
            if action.verb == "stop":
                self.target_m = None
            else:
                assert (action.verb == "grasp") == (action.width_m < self.width_m)
                floor = self.object_m if action.verb == "grasp" else 0.0
                self.target_m = max(action.width_m, floor)
        if self.target_m is not None:
            step = max(-0.002, min(0.002, self.target_m - self.width_m))
            self.width_m += step
            if abs(self.target_m - self.width_m) < 1e-9:
                self.target_m = None

    def run(self, ticks):
        for _ in range(ticks):
            self.tick()


def test_closing_is_one_grasp_and_opening_one_move():
    hand = Hand(object_m=0.04)
    for _ in range(100):
        hand.planner.want(0.0)
        hand.tick()
    assert hand.done == [GripAction(verb="grasp", width_m=0.0)]
    assert hand.width_m == pytest.approx(0.04)
    for _ in range(100):
        hand.planner.want(MAX_M)
        hand.tick()
    assert hand.done[1:] == [GripAction(verb="move", width_m=MAX_M)]
    assert hand.width_m == pytest.approx(MAX_M)


def test_small_changes_are_not_acted_on():
    hand = Hand()
    hand.planner.want(0.04)
    hand.run(50)
    for offset in (0.004, -0.004, 0.005, 0.0):
        hand.planner.want(0.04 + offset)
        hand.run(5)
    assert len(hand.done) == 1


def test_a_change_of_mind_stops_the_hand_first():
    hand = Hand()
    hand.planner.want(0.0)
    hand.run(5)
    hand.planner.want(MAX_M)
    hand.run(50)
    assert [action.verb for action in hand.done] == ["grasp", "stop", "move"]
    assert hand.width_m == pytest.approx(MAX_M)


def test_without_a_target_nothing_moves():
    hand = Hand()
    hand.run(10)
    assert hand.done == []


def test_a_target_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="must be a number"):
        Hand().planner.want(float("nan"))


@given(targets=st.lists(st.tuples(st.floats(-0.05, 0.2), st.integers(1, 30)), min_size=1))
def test_the_hand_always_ends_near_the_last_target(targets):
    hand = Hand()
    for width_m, ticks in targets:
        hand.planner.want(width_m)
        hand.run(ticks)
    hand.run(200)
    wanted_m = min(max(targets[-1][0], 0.0), MAX_M)
    assert abs(hand.width_m - wanted_m) <= HYSTERESIS_M + 1e-6
    assert all(0.0 <= action.width_m <= MAX_M for action in hand.done)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"driver": "robotiq"}, "gripper driver must be one of"),
        ({}, "'address' must be set"),
        ({"address": "a", "force_n": 500.0}, "force_n"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        GripperSettings(**changes)
