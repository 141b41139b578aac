"""A drawer from touches of a synthetic one, and the touches that are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration import drawer
from rlco_calibration.drawer import DrawerTouches
from rlco_calibration.errors import CalibrationError
from rlco_calibration.parts import Table
from rlco_calibration.results import with_quantities
from rlco_calibration.scene import TIP_M
from rlco_calibration.twin import demo_bench, load_twin

TWIN = load_twin(demo_bench())
NOMINAL = TWIN.drawer("drawer")
TABLE = Table(height_m=-0.003)
HALF = drawer.FINGER_HALF_DEPTH_M
SIDES = {"grip": 0.0, "outside": 1.0, "inside": -1.0}


def touched(truth, *, noise_m=0.0, seed=0, sides=("grip", "grip"), lean=0.0, skew_rad=0.0, n=3):
    """Touches of a drawer that is `truth`, standing on `TABLE`."""
    rng = np.random.default_rng(seed)
    c, s = np.cos(truth.yaw_rad), np.sin(truth.yaw_rad)
    cabinet = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    place = np.array([*truth.position_m[:2], TABLE.height_m])

    def points(inside):
        found = np.array(inside, float) @ cabinet.T + place
        return tuple(map(tuple, (found + rng.normal(0, noise_m, found.shape)).tolist()))

    bar_x, _, bar_z = truth.T_cabinet_handle[:3, 3]
    reach = HALF + truth.handle_size_m[2] / 2
    closed_x, opened_x = (bar_x - SIDES[side] * reach for side in sides)
    moved = truth.travel_m * np.array([-np.cos(skew_rad), np.sin(skew_rad), 0])
    front_x = -truth.size_m[0] / 2 - HALF
    top_z = bar_z + truth.handle_size_m[2] / 2 + TIP_M
    return DrawerTouches(
        name="drawer",
        closed_m=points([[closed_x, 0, bar_z]] * n),
        opened_m=points([np.array([opened_x, 0, bar_z]) + moved] * n),
        front_m=points(
            [[front_x + lean * (z - 0.08), y, z] for y, z in
             ((-0.06, 0.09), (0.06, 0.09), (0, 0.09), (0.06, 0.07), (-0.06, 0.075))]
        ),
        top_m=points([[bar_x, y, top_z] for y in (-0.02, 0.02)]),
        closed_side=sides[0],
        opened_side=sides[1],
    )  # fmt: skip


def drawn(seed):
    rng = np.random.default_rng(seed)
    return replace(
        NOMINAL,
        travel_m=float(rng.uniform(0.06, 0.16)),
        yaw_rad=float(rng.uniform(-3.1, 3.1)),
        position_m=(float(rng.uniform(0.4, 0.7)), float(rng.uniform(-0.2, 0.2)), 0.0),
        handle_size_m=(float(rng.uniform(0.04, 0.07)), 0.1, 0.012),
        handle_height_m=float(rng.uniform(0.03, 0.08)),
    )


def found_of(touches):
    measured = drawer.measure(touches, NOMINAL, TABLE, 0.0002)
    return {
        item.name.removeprefix("drawers.drawer."): item for item in measured.measured.quantities
    }


def truth_of(model):
    return {
        "travel_m": model.travel_m,
        "yaw_rad": model.yaw_rad,
        "position_m[0]": model.position_m[0],
        "position_m[1]": model.position_m[1],
        "handle_size_m[0]": model.handle_size_m[0],
        "handle_height_m": model.handle_height_m,
    }


@given(
    seed=st.integers(0, 10_000),
    sides=st.sampled_from([("grip", "grip"), ("outside", "inside"), ("outside", "outside")]),
)
def test_without_noise_a_drawer_is_found_exactly(seed, sides):
    truth = drawn(seed)
    found = found_of(touched(truth, sides=sides))
    for name, value in truth_of(truth).items():
        assert found[name].value == pytest.approx(value, abs=1e-9), name


def test_intervals_hold_the_truth():
    held = {name: 0 for name in truth_of(NOMINAL)}
    for seed in range(40):
        truth = drawn(seed)
        found = found_of(touched(truth, noise_m=3e-4, seed=seed))
        for name, value in truth_of(truth).items():
            held[name] += found[name].low <= value <= found[name].high
        assert found["travel_m"].value == pytest.approx(truth.travel_m, abs=2e-3)
        assert found["travel_m"].high - found["travel_m"].low < 4e-3
    assert min(held.values()) >= 36, held


def test_fingers_that_lean_tell_the_yaw_by_the_front_alone():
    """They slide along the bar: a touch 10 mm aside must not turn the drawer."""
    touches = touched(NOMINAL, sides=("outside", "inside"))
    aside = np.array([-np.sin(NOMINAL.yaw_rad), np.cos(NOMINAL.yaw_rad), 0]) * 0.01
    slid = replace(touches, opened_m=tuple(tuple(np.array(p) + aside) for p in touches.opened_m))
    assert found_of(slid)["yaw_rad"].value == pytest.approx(NOMINAL.yaw_rad, abs=1e-9)
    assert found_of(slid)["travel_m"].value == pytest.approx(NOMINAL.travel_m, abs=1e-9)
    far = replace(touches, opened_m=tuple(tuple(np.array(p) + 7 * aside) for p in touches.opened_m))
    with pytest.raises(CalibrationError, match="70 mm off the line square"):
        drawer.measure(far, NOMINAL, TABLE, 0.0002)


def test_more_noise_means_wider_intervals():
    widths = [found_of(touched(NOMINAL, noise_m=noise))["travel_m"].std for noise in (1e-4, 1e-3)]
    assert widths[1] > 1.5 * widths[0]


def test_a_measured_drawer_reaches_the_twin():
    truth = drawn(7)
    measured = drawer.measure(touched(truth), NOMINAL, TABLE, 0.0002).measured
    twin = with_quantities(TWIN, measured)
    model = twin.drawer("drawer")
    assert model.travel_m == pytest.approx(truth.travel_m)
    assert model.handle_size_m == pytest.approx(truth.handle_size_m)
    stds = {item.name: item.std for item in twin.provenance}
    assert len(stds["drawers.drawer.handle_size_m"]) == 3
    assert stds["drawers.drawer.travel_m"][0] > 0


def scaled(touches, factor):
    return replace(touches, opened_m=tuple(tuple(factor * v for v in p) for p in touches.opened_m))


GOOD = touched(NOMINAL)
LINE = tuple((0.5 + 0.02 * i, 0.1 - 0.01 * i, 0.08) for i in range(4))
UPRIGHT = tuple((0.5 + 0.0001 * i * i, 0.1, 0.06 + 0.01 * i) for i in range(4))


@pytest.mark.parametrize(
    ("touches", "what"),
    [
        (replace(GOOD, closed_m=GOOD.closed_m[:1]), "1 touches in closed_m, at least 2"),
        (replace(GOOD, front_m=GOOD.front_m[:2]), "2 touches in front_m, at least 3"),
        (replace(GOOD, front_m=LINE), "in one line"),
        (replace(GOOD, front_m=UPRIGHT), "in one"),
        (scaled(GOOD, 1000.0), "Millimetres"),
        (replace(GOOD, opened_m=GOOD.closed_m), "0 mm apart"),
        (touched(NOMINAL, skew_rad=0.15), "8.6 deg off square"),
        (touched(NOMINAL, lean=0.3), "the front leans"),
        (replace(GOOD, front_m=(*GOOD.front_m, (0.5, 0.05, 0.08))), "touch 6 of the front"),
        (replace(GOOD, front_m=GOOD.opened_m[:1] + GOOD.front_m[1:]), "off the plane|leans|square"),
        (replace(GOOD, between_m=((0.5, 0.0, 0.07),), closed_side="outside"), "between_m needs"),
    ],
)  # fmt: skip
def test_touches_that_cannot_be_are_named(touches, what):
    with pytest.raises(CalibrationError, match=what):
        drawer.measure(touches, NOMINAL, TABLE, 0.0002)
