from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fakes.episodes import make_episode, make_store
from rlco_datasets.cli import main
from rlco_datasets.contract import franka_compact, franka_third_person, load_contract
from rlco_datasets.store import EpisodeStore

CONTRACT = franka_compact()
Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert isinstance(exited.value.code, int)
    return exited.value.code, out, err


def test_info_says_what_a_store_holds(tmp_path: Path, capsys: Capture) -> None:
    make_store(tmp_path / "store", CONTRACT, (12, 9), flags=("rate_missed",))
    with EpisodeStore.open(tmp_path / "store", "a") as store:
        store.append(make_episode(CONTRACT, 600, 5, outcome="failure", operator="grace"))
    (tmp_path / "store/data/camera_third_person/621.0.0.0").write_bytes(b"x")
    code, out, _ = run(capsys, "info", tmp_path / "store")
    rows = {line[:12].strip(): line[13:] for line in out.splitlines()}
    assert code == 0
    assert rows["contract"] == f"franka_compact {CONTRACT.id}"
    assert rows["episodes"] == "3"
    assert rows["steps"] == "621 (9 to 600 an episode)"
    assert rows["time"] == "0.02 h (1.0 min) at 10 Hz"
    assert rows["outcome"] == "success 2, failure 1"
    assert rows["operator"] == "ada 2, grace 1"
    assert rows["flags"] == "rate_missed 2"
    assert rows["tail"] == "1 uncommitted steps in 1 files"
    assert float(rows["size"].split()[0]) > 5
    assert (tmp_path / "store/data/camera_third_person/621.0.0.0").exists()


def test_info_of_an_empty_store(tmp_path: Path, capsys: Capture) -> None:
    EpisodeStore.create(tmp_path / "store", CONTRACT).close()
    code, out, _ = run(capsys, "info", tmp_path / "store")
    assert code == 0
    assert "episodes     0\n" in out


def test_check_fails_on_errors_only(tmp_path: Path, capsys: Capture) -> None:
    make_store(tmp_path / "store", CONTRACT, (4,))
    code, out, _ = run(capsys, "check", tmp_path / "store")
    assert code == 0
    assert "0 errors, 1 warnings" in out
    episode = make_episode(CONTRACT, 30)
    episode.images["third_person"][:] = 7
    with EpisodeStore.open(tmp_path / "store", "a") as store:
        store.append(episode)
    code, out, _ = run(capsys, "check", tmp_path / "store")
    assert code == 1
    assert "error   episode 1: camera third_person" in out


def test_contract_and_diff(tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "contract", "--name", "franka_third_person")
    assert code == 0
    (tmp_path / "mine.yaml").write_text(out.replace("horizon: 8", "horizon: 16"))
    code, out, _ = run(capsys, "contract", "--out", tmp_path / "compact.yaml")
    assert (code, load_contract(tmp_path / "compact.yaml")) == (0, CONTRACT)
    code, out, _ = run(capsys, "diff", "franka_third_person", tmp_path / "mine.yaml")
    assert (code, out) == (1, "horizon: 8 -> 16\n")
    make_store(tmp_path / "store", CONTRACT, (4,))
    code, out, _ = run(capsys, "diff", tmp_path / "store", tmp_path / "compact.yaml")
    assert (code, out) == (0, f"the same contract: franka_compact {CONTRACT.id}\n")
    assert franka_third_person().horizon == 8


def test_what_cannot_be_done_is_one_line_and_exit_code_2(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "broken.yaml").write_text("name: [")
    for arguments, message in (
        (("info", tmp_path), "is not an rlco episode store"),
        (("check", tmp_path / "none"), "does not exist"),
        (("contract", "--name", "ur5"), "no built-in contract 'ur5'; choose from"),
        (("diff", "franka_compact", tmp_path / "broken.yaml"), "broken.yaml"),
        (("contract", "--out", tmp_path / "broken.yaml" / "x"), "broken.yaml"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.startswith("rlco-data: ")
        assert err.count("\n") == 1


def test_every_command_explains_itself(capsys: Capture) -> None:
    for command in ([], ["info"], ["check"], ["contract"], ["diff"]):
        code, out, _ = run(capsys, *command, "--help")
        assert code == 0
        assert "Example: rlco-data" in " ".join(out.replace("│", " ").split())


def test_the_installed_program_runs(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("rlco-data")
    done = subprocess.run([program, "info", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"rlco-data: {tmp_path} is not an rlco episode store")
    assert "Traceback" not in done.stderr


def test_a_reader_that_hangs_up_is_no_error(tmp_path: Path) -> None:
    make_store(tmp_path / "store", franka_compact()).close()
    program = Path(sys.executable).with_name("rlco-data")
    with subprocess.Popen(
        [program, "info", tmp_path / "store"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=180) == 0
