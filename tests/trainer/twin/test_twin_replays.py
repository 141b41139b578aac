"""Recorded motions replayed in rollout workers give what they give in this process."""

from dataclasses import replace

import numpy as np
import pytest
from rlco_calibration.excite import excitation
from rlco_calibration.recording import Recording, Track
from rlco_datasets.frames import pose_matrix
from rlco_trainer.replay_in_twin import TwinSimulator
from rlco_trainer.twin.robot import TOOL_DOWN

pytestmark = pytest.mark.sim


@pytest.mark.slow
def test_workers_replay_as_this_process_does(bench, shifted_bench, contract, start):
    initial = replace(start("push_cube"), tcp_position_m=(0.5, 0.0, 0.25))
    targets = excitation((0.5, 0.0, 0.25), bench.workspace, np.random.default_rng(0), 10)
    still = Track(T_base_tcp=np.stack([pose_matrix(np.zeros(3), TOOL_DOWN)] * 10), objects={})
    recording = Recording(initial=initial, targets=targets, widths_m=np.full(10, 0.04), track=still)
    jobs = [(twin, recording) for twin in (bench, shifted_bench, bench)]
    with TwinSimulator(contract) as here:
        expected = here(jobs)
    with TwinSimulator(contract, workers=2) as there:
        found = there(jobs)
        there.close()  # an early end does no harm
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.T_base_tcp, theirs.T_base_tcp)
        np.testing.assert_array_equal(ours.objects["cube"], theirs.objects["cube"])
    assert not np.array_equal(found[0].T_base_tcp, found[1].T_base_tcp)
    np.testing.assert_array_equal(found[0].T_base_tcp, found[2].T_base_tcp)


def test_there_is_at_least_one_worker(contract):
    with pytest.raises(ValueError, match="workers must be positive, got 0"):
        TwinSimulator(contract, workers=0)
