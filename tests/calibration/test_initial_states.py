import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration.initial_states import sample, stood
from rlco_calibration.twin import TwinError, demo_bench, load_twin

TWIN = load_twin(demo_bench())


@given(seed=st.integers(0, 2**32 - 1), task=st.sampled_from([t.name for t in TWIN.tasks]))
def test_draws_stay_in_their_ranges_and_apart(seed, task):
    states = TWIN.task(task)
    drawn = sample(TWIN, task, np.random.default_rng(seed), "one")
    assert (drawn.name, drawn.task) == ("one", task)
    for place, item in zip(states.placements, drawn.objects, strict=True):
        x, y, z = item.position_m
        assert item.name == place.name
        assert place.x_m[0] <= x <= place.x_m[1]
        assert place.y_m[0] <= y <= place.y_m[1]
        boxes = {model.name: model for model in TWIN.objects if model.kind == "box"}
        lift = boxes[item.name].size_m[2] / 2 if item.name in boxes else 0.0
        assert z == TWIN.table.height_m + lift
        yaw = 2 * np.arctan2(item.quaternion_wxyz[3], item.quaternion_wxyz[0])
        assert place.yaw_rad[0] - 1e-9 <= yaw <= place.yaw_rad[1] + 1e-9
    for first, second in combinations(drawn.objects, 2):
        apart = np.subtract(first.position_m[:2], second.position_m[:2])
        assert np.linalg.norm(apart) >= states.min_distance_m
    assert states.drawer_open[0] <= drawn.drawer_open <= states.drawer_open[1]
    for value, bounds in zip(
        drawn.tcp_position_m, (states.tcp_x_m, states.tcp_y_m, states.tcp_z_m), strict=True
    ):
        assert bounds[0] <= value <= bounds[1]


def test_the_same_seed_draws_the_same_condition_and_another_seed_another():
    draws = [sample(TWIN, "push_cube", np.random.default_rng(seed), "c") for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


def test_a_distance_that_cannot_be_kept_is_an_error_that_names_the_objects():
    far = dataclasses.replace(TWIN.task("push_cube"), min_distance_m=5.0)
    twin = dataclasses.replace(TWIN, tasks=(far,))
    with pytest.raises(TwinError, match=r"cube.*goal.*5\.0 m apart"):
        sample(twin, "push_cube", np.random.default_rng(0), "c")


@given(seed=st.integers(0, 2**32 - 1), task=st.sampled_from([t.name for t in TWIN.tasks]))
def test_what_was_drawn_stands_on_the_table_already(seed, task):
    drawn = sample(TWIN, task, np.random.default_rng(seed), "one")
    assert stood(TWIN, drawn) == drawn


def test_things_stand_on_the_table_that_is_there():
    drawn = sample(TWIN, "pick_and_place", np.random.default_rng(0), "one")
    table = dataclasses.replace(TWIN.table, height_m=0.006)
    cube = TWIN.object_model("cube")
    larger = dataclasses.replace(cube, size_m=(*cube.size_m[:2], 0.05))
    objects = tuple(larger if item.name == "cube" else item for item in TWIN.objects)
    there = stood(dataclasses.replace(TWIN, table=table, objects=objects), drawn)
    heights = {item.name: item.position_m[2] for item in there.objects}
    assert heights["cube"] == pytest.approx(0.031)
    assert heights["bowl"] == pytest.approx(0.006)
    for before, after in zip(drawn.objects, there.objects, strict=True):
        assert before.position_m[:2] == after.position_m[:2]
        assert before.quaternion_wxyz == after.quaternion_wxyz
