"""The walk over a folder with captures, touches and motions, without a simulator."""

import pytest
from rlco_calibration import cli
from rlco_calibration.board import Board
from rlco_calibration.errors import CalibrationError
from rlco_calibration.recording import Track
from rlco_calibration.scene import TIP_M, Touches
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact

TWIN = load_twin(demo_bench())
CONTRACT = franka_compact()


class StillSimulator:
    """A twin in which everything goes where it is sent."""

    substep_s = 0.02

    def __call__(self, jobs):
        return [
            Track(T_base_tcp=recording.targets, objects=recording.track.objects)
            for _, recording in jobs
        ]


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
