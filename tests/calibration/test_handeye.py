import numpy as np
import pytest
from fakes.synthetic_captures import SyntheticBench, turn
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_calibration import handeye
from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import interval
from rlco_calibration.handeye import View
from rlco_datasets.frames import inverse, pose_matrix
from scipy.spatial.transform import Rotation


def measure(bench, count=16, **options):
    return handeye.calibrate(
        bench.board, bench.views(count), bench.lens, setup=bench.setup, **options
    )


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), setup=st.sampled_from(["eye_to_hand", "eye_in_hand"]))
def test_without_noise_the_truth_comes_back(seed, setup):
    bench = SyntheticBench(setup=setup, seed=seed, noise_px=1e-6)
    found = measure(bench)
    np.testing.assert_allclose(found.X, bench.X, atol=1e-6)
    np.testing.assert_allclose(found.Y, bench.Y, atol=1e-6)


@pytest.mark.parametrize("setup", ["eye_to_hand", "eye_in_hand"])
def test_refinement_is_better_than_any_closed_form(setup):
    ours, theirs = [], []
    for seed in range(6):
        bench = SyntheticBench(setup=setup, seed=seed, noise_px=0.2)
        found = measure(bench)
        ours.append(np.linalg.norm(found.X[:3, 3] - bench.X[:3, 3]))
        theirs.append(
            min(np.linalg.norm(X[:3, 3] - bench.X[:3, 3]) for X in found.methods.values())
        )
    assert np.median(ours) < 0.5 * np.median(theirs)


def test_uncertainty_grows_with_the_noise():
    stds = [
        np.linalg.norm(measure(SyntheticBench(seed=3, noise_px=noise)).position_std_m)
        for noise in (0.05, 0.1, 0.2)
    ]
    ratios = np.diff(np.log2(stds))
    assert (ratios > 0.7).all()
    assert (ratios < 1.3).all()


@pytest.mark.parametrize("pose_noise_m", [0.0, 0.0005])
def test_intervals_hold_what_they_promise(pose_noise_m):
    inside = []
    for seed in range(30):
        bench = SyntheticBench(seed=seed, noise_px=0.15, pose_noise_m=pose_noise_m)
        found = measure(bench)
        for axis in range(3):
            low, high = interval(found.X[axis, 3], found.position_std_m[axis], found.degrees)
            inside.append(low <= bench.X[axis, 3] <= high)
    assert 0.85 <= np.mean(inside) <= 1.0


def test_the_lens_is_refined_together_with_the_pose():
    bench = SyntheticBench(seed=5)
    views = bench.views(20)
    start = handeye.Lens.of(bench.lens.vector * [1.02, 1.02, 1.01, 0.99, 0, 0, 0, 0, 0], (640, 480))
    found = handeye.calibrate(bench.board, views, start, model="k1k2p1p2")
    assert abs(found.lens.fx / bench.lens.fx - 1) < 0.003
    assert np.linalg.norm(found.X[:3, 3] - bench.X[:3, 3]) < 0.001


def test_leaving_a_view_out_tells_how_well_it_is_predicted():
    bench = SyntheticBench(seed=2, noise_px=0.1)
    views = bench.views(16)
    odd = views[4]
    moved = odd.T_base_tcp.copy()
    moved[0, 3] += 0.01
    views[4] = View(T_base_tcp=moved, detection=odd.detection)
    found = handeye.calibrate(bench.board, views, bench.lens)
    assert int(np.argmax(found.left_out_px)) == 4
    assert found.left_out_px[4] > 5 * np.median(found.left_out_px)


def test_parallel_poses_are_refused():
    bench = SyntheticBench(seed=1)
    rng = np.random.default_rng(0)
    views = []
    while len(views) < 12:
        pose = pose_matrix(rng.uniform([0.45, -0.1, 0.2], [0.55, 0.0, 0.35]), turn(180, 0, 0))
        detection = bench.detection(pose)
        if len(detection) > 8:
            views.append(View(T_base_tcp=pose, detection=detection))
    with pytest.raises(CalibrationError, match="parallel"):
        handeye.calibrate(bench.board, views, bench.lens)


def test_turning_about_one_axis_only_is_refused():
    bench = SyntheticBench(seed=1)
    views = []
    for angle in np.linspace(-30, 30, 60):
        pose = pose_matrix([0.5, -0.05, 0.25], turn(0, 0, angle) @ turn(180, 0, 0))
        detection = bench.detection(pose)
        if len(detection) > 8:
            views.append(View(T_base_tcp=pose, detection=detection))
    with pytest.raises(CalibrationError, match="single axis"):
        handeye.calibrate(bench.board, views, bench.lens)


def test_too_few_views_are_refused():
    with pytest.raises(CalibrationError, match="8 are needed"):
        measure(SyntheticBench(), count=5)


@given(
    turn_rad=st.tuples(*[st.floats(-1, 1)] * 3),
    shift_m=st.tuples(*[st.floats(-1, 1)] * 3),
    seed=st.integers(0, 100),
)
def test_perturbing_by_the_difference_of_two_poses_gives_the_second(turn_rad, shift_m, seed):
    start = pose_matrix(
        [0.1, 0.2, 0.3], Rotation.random(random_state=np.random.default_rng(seed)).as_matrix()
    )
    moved = handeye.perturbed(start, np.array([*turn_rad, *shift_m]))
    np.testing.assert_allclose(moved @ inverse(moved), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(moved[:3, 3] - start[:3, 3], shift_m, atol=1e-12)
    back = Rotation.from_matrix(moved[:3, :3] @ start[:3, :3].T).as_rotvec()
    np.testing.assert_allclose(back, turn_rad, atol=1e-9)
