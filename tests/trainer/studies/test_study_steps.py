"""A sequence of commands: run once, kept, interrupted, continued."""

from __future__ import annotations

import json
import sys

import pytest
from rlco_trainer.studies.steps import StepFailedError, Steps, command, policy_server, typed


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_runs_once_and_its_output_is_kept(tmp_path, capfd):
    count = tmp_path / "count"
    append = python(f"open({str(count)!r}, 'a').write('x'); print('made')")
    for _ in range(2):
        Steps(tmp_path / "run", {"size": 1}).run("one", "First", append)
    assert count.read_text() == "x"
    assert (tmp_path / "run/logs/one.log").read_text() == "made\n"
    assert "First: done before" in capfd.readouterr().out


def test_a_failure_names_the_log_and_the_step_is_tried_again(tmp_path):
    steps = Steps(tmp_path, {})
    with pytest.raises(StepFailedError, match=r"exit code 3; see .*two1\.log"):
        steps.run("two", "Second", python("print('ok')"), python("raise SystemExit(3)"))
    assert "two" not in Steps(tmp_path, {})
    steps.run("two", "Second", python("pass"))
    assert "two" in Steps(tmp_path, {})
    assert steps.commands == [typed(python("pass"))]


def test_another_setting_is_refused_and_named(tmp_path):
    Steps(tmp_path, {"trials": 30, "task": "push"})
    with pytest.raises(StepFailedError, match="trials: 30, now 50"):
        Steps(tmp_path, {"trials": 50, "task": "push"})


def test_options_become_words():
    words = command("rlco-train", "stage1", real=("a", "b"), sim=None, rl_weight=0, out_dir="x")
    assert typed(words) == "rlco-train stage1 --real a b --rl-weight 0 --out-dir x"
    with pytest.raises(StepFailedError, match="make setup"):
        command("no-such-command")


def test_a_server_is_used_once_ready_and_ends_afterwards(tmp_path):
    ready, gone = tmp_path / "ready.json", tmp_path / "gone"
    code = (
        "import json, pathlib, signal, sys\n"
        f"leave = lambda *_: (pathlib.Path({str(gone)!r}).touch(), sys.exit())\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        f"pathlib.Path({str(ready)!r} + '.tmp').write_text(json.dumps(dict(url='http://here')))\n"
        f"pathlib.Path({str(ready)!r} + '.tmp').rename({str(ready)!r})\n"
        "signal.pause()\n"
    )
    with policy_server(python(code), ready, tmp_path / "log", Steps(tmp_path, {})) as url:
        assert url == "http://here"
        assert not gone.exists()
    assert gone.exists()


def test_a_server_that_ends_is_told_with_its_log(tmp_path):
    log = tmp_path / "log"
    with (
        pytest.raises(StepFailedError, match=f"see {log}"),
        policy_server(python("print('port taken')"), tmp_path / "ready", log, Steps(tmp_path, {})),
    ):
        pytest.fail("it never got ready")
    assert log.read_text() == "port taken\n"


def test_the_journal_says_what_ran_and_how_long(tmp_path):
    Steps(tmp_path, {}).run("one", "First", python("pass"))
    steps = json.loads((tmp_path / "journal.json").read_text())["steps"]
    assert steps["one"]["commands"] == [typed(python("pass"))]
    assert steps["one"]["seconds"] >= 0
