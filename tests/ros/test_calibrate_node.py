"""The calibration node: drives through the guard to poses that show the board, keeps captures."""

import numpy as np
import pytest
from ros_processes import NodeProcess, nodes

pytestmark = [pytest.mark.ros, pytest.mark.slow]

COUNT = 8
PATIENCE_S = 600.0
"""Hundreds of control periods, each a round trip through three processes."""


def test_the_board_is_captured_at_different_poses_and_a_second_run_adds_nothing(domain, tmp_path):
    from rlco_calibration.captures import CaptureFolder
    from rlco_calibration.problems import examine
    from rlco_calibration.twin import demo_bench

    parameters = {
        "folder": str(tmp_path / "work"),
        "bench": str(demo_bench()),
        "steps": "captures",
        "captures": COUNT,
        "silence_s": 60.0,
    }
    lab = NodeProcess("fake_scene", {"twin": str(demo_bench()), "task": "pick_and_place"}, tmp_path)
    guard = NodeProcess("rlco.nodes.guard", {"listeners": 1}, tmp_path)
    with nodes(lab, guard):
        for run in range(2):
            calibrate = NodeProcess("rlco.nodes.calibrate", parameters, tmp_path, name=f"run{run}")
            with nodes(calibrate):
                code = calibrate.process.wait(PATIENCE_S)
            calibrate.wait()
            assert code == 0, calibrate.output + guard.output + lab.output
    assert "captures are there already" in calibrate.output
    folder = CaptureFolder.open(tmp_path / "work" / "captures" / "third_person")
    captures = folder.captures()
    assert len(captures) == COUNT
    seen = examine(folder.session.board, captures)
    assert len(seen.views) >= COUNT - 2, seen.troubles
    positions = np.stack([view.T_base_tcp[:3, 3] for view in seen.views])
    assert np.ptp(positions, axis=0).max() > 0.1
    assert all(c.record.frame_stamp_ns == c.record.pose_stamp_ns for c in captures)
