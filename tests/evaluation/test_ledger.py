from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from fakes.studies import make_study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rlco_datasets import spec
from rlco_evaluation.ledger import Ledger, LedgerError
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.schedule import schedule


def done(trial, **fields):
    return TrialRecord(
        index=trial.index,
        condition=trial.condition,
        code=trial.code,
        **({"status": "done", "success": True} | fields),
    )


def void(trial, reason="cube fell off the table"):
    return done(trial, status="void", success=None, reason=reason)


def fill(path, study, count):
    with Ledger.open(path, study, mode="a") as ledger:
        for trial in ledger.remaining(study)[:count]:
            ledger.append(done(trial, notes='a "quoted"\nnote, ü', milestone="grasped"))


def test_records_come_back_as_written_and_the_run_resumes(study, ledger_path):
    fill(ledger_path, study, 5)
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        assert ledger.header.study_id == study.id
        assert ledger.header.contract_id == study.contract_id
        assert ledger.remaining(study) == schedule(study)[5:]
        assert [record.index for record in ledger.trials] == list(range(5))
        assert ledger.trials[0].notes == 'a "quoted"\nnote, ü'
        assert ledger.trials[0].attempt == 1
        assert ledger.trials[0].utc
    fill(ledger_path, study, 99)
    with Ledger.open(ledger_path) as ledger:
        assert ledger.remaining(study) == ()
        assert len(ledger.trials) == study.trial_count


def test_a_void_trial_comes_again_until_its_attempts_are_spent(study, ledger_path):
    first = schedule(study)[0]
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        for attempt in range(1, study.max_attempts + 1):
            assert ledger.remaining(study)[0] == first
            assert ledger.append(void(first)).attempt == attempt
        assert ledger.remaining(study)[0] != first


def test_a_begun_trial_that_never_ended_is_void(study, ledger_path):
    first = schedule(study)[0]
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        ledger.begin(first.index)
        with pytest.raises(LedgerError, match="trial 0 was begun and has not ended"):
            ledger.begin(1)
    for _ in range(2):
        with Ledger.open(ledger_path, study, mode="a") as ledger:
            (record,) = ledger.trials
            assert record.status == "void"
            assert record.reason.startswith("interrupted")
            assert ledger.remaining(study)[0] == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 99}, "trial 99 is not planned"),
        ({"condition": "c99"}, "not 'c99'"),
        ({"attempt": 2}, "next attempt is 1, got 2"),
        ({"milestone": "flown"}, "'flown' is not one of"),
    ],
)
def test_a_record_that_does_not_fit_the_plan_is_refused(study, ledger_path, change, message):
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        with pytest.raises(LedgerError, match=message):
            ledger.append(replace(done(schedule(study)[0]), **change))
        assert ledger.trials == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"success": None}, "needs success true or false"),
        ({"status": "void"}, "a void trial has no success"),
        ({"status": "void", "success": None}, "must give its reason"),
        ({"duration_s": float("nan")}, "duration_s must be finite"),
        ({"steps": -1}, "must not be negative"),
    ],
)
def test_an_impossible_record_cannot_be_made(study, fields, message):
    with pytest.raises(ValueError, match=message):
        done(schedule(study)[0], **fields)


def test_a_done_trial_cannot_be_run_again(study, ledger_path):
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        ledger.append(done(schedule(study)[0], success=False))
        with pytest.raises(LedgerError, match="trial 0 is done"):
            ledger.append(done(schedule(study)[0]))


@given(cut=st.integers(1, 4000), tail=st.sampled_from([b"", b"\0" * 30, b"\0" * 30 + b"\n"]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
def test_any_cut_loses_the_torn_line_alone(study, tmp_path, cut, tail):
    path = tmp_path / "cut.jsonl"
    path.unlink(missing_ok=True)
    fill(path, study, 4)
    whole = path.read_bytes()
    cut = min(cut, len(whole))
    path.write_bytes(whole[:cut] + tail)
    only_newline_lost = not tail and whole[cut : cut + 1] == b"\n"
    kept = whole[:cut].count(b"\n") + only_newline_lost
    torn = len(whole[:cut] + tail) > len(b"".join(whole.splitlines(keepends=True)[:kept]))
    with Ledger.open(path, study, mode="a") as ledger:
        assert len(ledger.trials) == max(kept - 1, 0)
        assert bool(ledger.recovered) == torn
        ledger.append(done(ledger.remaining(study)[0]))
    with Ledger.open(path, study) as ledger:
        assert len(ledger.trials) == max(kept - 1, 0) + 1


def test_a_torn_line_is_reported_and_recorded(study, ledger_path):
    fill(ledger_path, study, 2)
    with ledger_path.open("ab") as file:
        file.write(b'{"kind":"trial","ind')
    with Ledger.open(ledger_path, study) as ledger:
        assert len(ledger.trials) == 2
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        assert ledger.recovered == "removed a torn last line of 20 bytes"
        assert ledger.events[-1].what == "recovered"
        assert '"ind' in ledger.events[-1].text
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        assert ledger.recovered == ""


def test_every_edit_shows(study, ledger_path):
    fill(ledger_path, study, 4)
    lines = ledger_path.read_bytes().splitlines(keepends=True)
    edits = {
        "line 3: was edited": [*lines[:2], lines[2].replace(b"true", b"false"), *lines[3:]],
        "line 3: does not follow": [*lines[:2], *lines[3:]],
        "line 2: does not follow": [lines[0], lines[2], lines[1], *lines[3:]],
        "line 5: was edited": [*lines[:4], lines[4].replace(b"true", b"false")],
        "line 3: is not JSON": [*lines[:2], b"hello\n", *lines[3:]],
    }
    for message, edited in edits.items():
        ledger_path.write_bytes(b"".join(edited))
        for mode in ("r", "a"):
            with pytest.raises(LedgerError, match=message):
                Ledger.open(ledger_path, study, mode=mode)
        assert ledger_path.read_bytes() == b"".join(edited), "a damaged ledger is left alone"


def test_another_studys_ledger_is_refused_by_both_ids(study, ledger_path):
    fill(ledger_path, study, 1)
    other = replace(study, name="other")
    with pytest.raises(LedgerError, match=f"{study.id}.*{other.id}"):
        Ledger.open(ledger_path, other, mode="a")
    with Ledger.open(ledger_path) as ledger, pytest.raises(LedgerError, match=other.id):
        ledger.remaining(other)


def test_one_writer_at_a_time_and_readers_any_time(study, ledger_path):
    with Ledger.open(ledger_path, study, mode="a") as writer:
        with pytest.raises(LedgerError, match="another process is appending"):
            Ledger.open(ledger_path, study, mode="a")
        with Ledger.open(ledger_path, study) as reader:
            assert reader.trials == ()
            with pytest.raises(LedgerError, match="opened to read"):
                reader.append(done(schedule(study)[0]))
        writer.append(done(schedule(study)[0]))
    Ledger.open(ledger_path, study, mode="a").close()


def test_a_missing_ledger_and_a_file_that_is_none(ledger_path):
    with pytest.raises(LedgerError, match="cannot open this ledger"):
        Ledger.open(ledger_path)
    ledger_path.write_text("")
    with pytest.raises(LedgerError, match="empty, not a ledger"):
        Ledger.open(ledger_path)


def test_a_full_disk_commits_nothing_and_the_ledger_goes_on(study, ledger_path, monkeypatch):
    fill(ledger_path, study, 1)
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        before = ledger_path.read_bytes()
        write = os.write

        def full(fd, data):
            write(fd, bytes(data)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(LedgerError, match=r"No space left.*Free disk space"):
            ledger.append(done(schedule(study)[1]))
        monkeypatch.undo()
        assert ledger_path.read_bytes() == before
        ledger.append(done(schedule(study)[1]))
    with Ledger.open(ledger_path, study) as ledger:
        assert len(ledger.trials) == 2


CHILD = """
import sys
from rlco_datasets import spec
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.study import Study
study = spec.load(Study, sys.argv[1])
with Ledger.open(sys.argv[2], study, mode="a") as ledger:
    for trial in ledger.remaining(study):
        ledger.begin(trial.index)
        ledger.append(TrialRecord(index=trial.index, condition=trial.condition, code=trial.code,
                                  status="done", success=True, notes="x" * 5000))
        print(trial.index, flush=True)
"""


def test_no_acknowledged_trial_is_lost_to_sigkill(tmp_path):
    study = make_study(40, "ABC", 3)
    spec.save(study, tmp_path / "study.yaml")
    path = tmp_path / "ledger.jsonl"
    acknowledged: list[int] = []
    for kill_after in (1, 7, 40):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "study.yaml"), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(kill_after):
            acknowledged.append(int(child.stdout.readline()))
        child.kill()
        acknowledged.extend(int(line) for line in child.stdout if line.endswith("\n"))
        child.wait()
        child.stdout.close()
        with Ledger.open(path, study) as ledger:
            committed = [record.index for record in ledger.trials if record.status == "done"]
        assert committed[: len(acknowledged)] == acknowledged
        assert len(committed) <= len(acknowledged) + 1
        acknowledged = committed
    assert len(acknowledged) >= 48
    for line in path.read_bytes().splitlines()[:-1]:
        json.loads(line)
