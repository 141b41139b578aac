"""The walk over a folder with captures, touches and motions, and the gate, without a simulator."""

import numpy as np
import pytest
from rlco_calibration import cli
from rlco_calibration.board import Board
from rlco_calibration.captures import CaptureFolder, Session
from rlco_calibration.check import Limit, Thresholds, check, edges_missed
from rlco_calibration.errors import CalibrationError
from rlco_calibration.recording import Track
from rlco_calibration.scene import TIP_M, Touches
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact, franka_third_person

TWIN = load_twin(demo_bench())
CONTRACT = franka_compact()


class StillSimulator:
    """A twin in which nothing moves and every picture is grey but for one line."""

    substep_s = 0.02

    def __call__(self, jobs):
        return [
            Track(T_base_tcp=recording.targets, objects=recording.track.objects)
            for _, recording in jobs
        ]

    def picture(self, twin, camera, T_base_tcp):
        frame = np.full((240, 320, 3), 90, np.uint8)
        frame[100:140, 100:200] = 220
        return frame


@pytest.fixture
def walk(tmp_path):
    return Walk(tmp_path, TWIN, lambda line: None)


def touched(height_m):
    return Touches(
        positions_m=tuple((x, y, height_m + TIP_M) for x in (0.3, 0.5) for y in (-0.2, 0.0, 0.2))
    )


def test_every_step_says_what_is_missing(walk):
    for step in (walk.cameras, walk.table):
        with pytest.raises(CalibrationError, match="Collect them first"):
            step()
    for step in (walk.arm, walk.friction):
        with pytest.raises(CalibrationError, match="Collect them first"):
            step(StillSimulator())
    assert "touches of the table: not collected yet; not solved yet" in walk.status()


def test_the_table_goes_from_touches_to_the_twin(walk, tmp_path):
    spec.save(touched(-0.004), tmp_path / "touches.yaml")
    walk.table()
    assert walk.solved("table")
    assert not walk.solved("arm")
    assert walk.picture("table").is_file()
    assert walk.measured(("table",)).table.height_m == pytest.approx(-0.004)
    twin = walk.twin()
    assert load_twin(tmp_path / "twin.yaml") == twin
    sources = {item.name: item for item in twin.provenance}
    assert "6 touches" in sources["table.height_m"].source
    assert sources["table.height_m"].std[0] > 0
    assert twin.cameras == TWIN.cameras


def test_the_command_line_walks_goes_on_and_shows_the_difference(tmp_path, monkeypatch, capsys):
    spec.save(touched(0.003), tmp_path / "touches.yaml")
    arguments = ["rlco-calibrate", "walk", "--folder", str(tmp_path), "--steps", "table", "twin"]
    for expected in ("table.height_m: 0.003", "table: solved before"):
        monkeypatch.setattr("sys.argv", arguments)
        cli.main()
        assert expected in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*arguments, "sing"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 2
    assert "step 'sing' is unknown" in capsys.readouterr().err


def test_the_board_command_writes_a_page_and_the_printed_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv",
        ["rlco-calibrate", "board", "--out", str(tmp_path / "board.pdf"), "--bar-mm", "148.5",
         "--save", str(tmp_path / "board.yaml")],
    )  # fmt: skip
    cli.main()
    assert (tmp_path / "board.pdf").read_bytes().startswith(b"%PDF")
    assert spec.load(Board, tmp_path / "board.yaml").square_m == pytest.approx(0.0495)
    assert "print at 100%" in capsys.readouterr().out


def test_the_gate_fails_a_twin_of_another_contract(tmp_path):
    verdicts = check(tmp_path, TWIN, franka_third_person(), StillSimulator(), Thresholds())
    found = {verdict.name: verdict for verdict in verdicts}
    assert found["contract"].level == "fail"
    assert "calibrate again" in str(found["contract"])
    assert found["motion"].level == "warn"
    assert "FAIL" not in str(check(tmp_path, TWIN, CONTRACT, StillSimulator(), Thresholds())[0])
    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert TWIN.id in page


def test_the_gate_fails_a_camera_that_never_saw_the_board(tmp_path):
    folder = CaptureFolder(
        tmp_path / "captures" / "third_person",
        Session(camera="third_person", board=Board(), board_place="gripper"),
    )
    frame = np.full((240, 320, 3), 90, np.uint8)
    folder.add(frame, np.eye(4), frame_stamp_ns=1, pose_stamp_ns=1)
    verdicts = check(tmp_path, TWIN, CONTRACT, StillSimulator(), Thresholds())
    assert {v.name: v.level for v in verdicts}["third_person points"] == "fail"


def test_edges_count_as_missed_where_the_real_frame_has_none():
    picture = StillSimulator().picture(TWIN, "third_person", np.eye(4))
    assert edges_missed(picture, picture) == 0.0
    assert edges_missed(np.roll(picture, 1, axis=1), picture) == 0.0
    assert edges_missed(np.roll(picture, 20, axis=1), picture) > 0.2
    assert edges_missed(np.full_like(picture, 90), picture) == 1.0


def test_limits_are_in_order():
    limit = Limit(good=1.0, bad=2.0)
    assert [limit.level(v) for v in (0.5, 1.5, 3.0)] == ["pass", "warn", "fail"]
    with pytest.raises(ValueError, match="good"):
        Limit(good=2.0, bad=1.0)
