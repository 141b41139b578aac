import dataclasses

import numpy as np
import pytest
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import demo_bench, load_twin

TWIN = load_twin(demo_bench())
DRAWER = TWIN.drawer("drawer")


def test_the_closed_handle_is_in_front_of_the_cabinet():
    x, y, z = DRAWER.T_cabinet_handle[:3, 3]
    depth, _, thickness = DRAWER.handle_size_m
    assert x == pytest.approx(-DRAWER.size_m[0] / 2 - depth + thickness / 2)
    assert (y, z) == (0, DRAWER.handle_height_m)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"travel_m": 0.2}, "travel_m 0.2 must be less than the cabinet's depth 0.18"),
        ({"handle_size_m": (0.01, 0.1, 0.012)}, "must stand out further than its bar"),
        ({"handle_size_m": (0.05, 0.3, 0.012)}, r"no wider than the front, 0\.16"),
        ({"handle_height_m": 0.2}, "must be on the front"),
        ({"joint_friction_n": -1.0}, "joint_friction_n must not be negative"),
        ({"colour": (2.0, 0.0, 0.0)}, r"colour channels must be in \[0, 1\]"),
    ],
)
def test_a_drawer_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=f"drawer drawer.*{message}"):
        dataclasses.replace(DRAWER, **change)


def test_a_handle_may_not_be_called_as_an_object():
    cube = dataclasses.replace(TWIN.objects[0], name="drawer_handle")
    with pytest.raises(ValueError, match="distinct names"):
        dataclasses.replace(TWIN, objects=(*TWIN.objects, cube))


def test_a_cabinet_is_placed_on_the_table_and_opened_as_the_task_says():
    raised = dataclasses.replace(TWIN, table=dataclasses.replace(TWIN.table, height_m=0.02))
    fractions = set()
    for seed in range(10):
        drawn = sample(raised, "close_drawer", np.random.default_rng(seed), "c")
        (cabinet,) = drawn.objects
        assert cabinet.name == "drawer"
        assert cabinet.position_m[2] == pytest.approx(0.02)
        low, high = TWIN.task("close_drawer").drawer_open
        assert low <= drawn.drawer_open <= high
        fractions.add(drawn.drawer_open)
    assert len(fractions) == 10
