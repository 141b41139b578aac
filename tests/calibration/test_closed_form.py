import json
from pathlib import Path

import numpy as np
import pytest
from rlco_calibration import closed_form
from rlco_datasets.frames import inverse, pose_matrix
from scipy.spatial.transform import Rotation

ORACLE = json.loads(Path(__file__).with_name("opencv_handeye.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", list(closed_form.METHODS))
def test_the_answers_are_those_of_opencv_on_noisy_poses(method):
    A, C = np.array(ORACLE["A"]), np.array(ORACLE["C"])
    ours = closed_form.METHODS[method](*closed_form.pairs(inverse(A), C))
    np.testing.assert_allclose(ours, ORACLE[method], atol=2e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", list(closed_form.METHODS))
def test_exact_poses_give_the_exact_answer(method, seed):
    rng = np.random.default_rng(seed)

    def pose(spread):
        turn = Rotation.from_rotvec(rng.normal(0, spread, 3)).as_matrix()
        return pose_matrix(rng.normal(0, 0.4, 3), turn)

    X, Y = pose(1.0), pose(1.0)
    A = np.stack([pose(0.5) for _ in range(8)])
    found = closed_form.METHODS[method](*closed_form.pairs(A, inverse(X) @ A @ Y))
    np.testing.assert_allclose(found, X, atol=1e-6)
