from __future__ import annotations

import pytest
import yaml
from fakes.studies import make_study, write_study
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_datasets.initial_condition import ConditionList
from rlco_evaluation import blinding
from rlco_evaluation.cli import main
from rlco_evaluation.schedule import schedule
from rlco_evaluation.study import Study


@pytest.fixture
def create(tmp_path):
    conditions = tmp_path / "conditions.yaml"
    spec.save(ConditionList(conditions=make_study(5).conditions), conditions)
    (tmp_path / "runs").mkdir()

    def run(*extra, contract_id="0123456789abcdef"):
        if contract_id:
            extra += ("--contract-id", contract_id)
        main(
            [
                *("create", "--name", "tuesday", "--conditions", str(conditions)),
                *("--instruction", "put it there"),
                *("--criterion", "it is there", "--out", str(tmp_path / "study")),
                *("--policy", f"sft={tmp_path / 'runs'}", "--policy", "rl-co=", *extra),
            ]
        )
        return (
            spec.load(Study, tmp_path / "study" / "study.yaml"),
            spec.load(blinding.Key, tmp_path / "study" / "key.yaml"),
        )

    return run


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("rlco-eval: error: ")
    assert error.count("\n") == 1
    return error


def test_create_writes_a_locked_study_and_its_key(create, capsys):
    study, key = create("--seed", "3", "--trials-per-condition", "2")
    assert study.codes == ("A", "B")
    assert study.comparisons == (("A", "B"),)
    assert study.milestones[-1] == "success"
    assert len(schedule(study)) == 20
    blinding.require_key(study, key)
    assert {entry.label: bool(entry.checkpoint_hash) for entry in key.entries} == {
        "sft": True,
        "rl-co": False,
    }
    assert "20 trials" in capsys.readouterr().out


def test_nothing_in_the_study_tells_the_labels(create, tmp_path):
    create()
    text = (tmp_path / "study" / "study.yaml").read_text()
    assert "sft" not in text
    assert "rl-co" not in text


def test_a_study_is_never_overwritten(create, tmp_path, capsys):
    create()
    before = (tmp_path / "study" / "study.yaml").read_bytes()
    with pytest.raises(SystemExit):
        create()
    assert "a study is never overwritten" in capsys.readouterr().err
    assert (tmp_path / "study" / "study.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--policy", "sft="), "each label once"),
        (("--policy", "nonsense"), "expected LABEL=CHECKPOINT"),
        (("--policy", "x=/nowhere/at/all"), "no checkpoint at /nowhere/at/all"),
        (("--compare", "sft:typo"), "no policy 'typo'"),
        (("--compare", "sft"), "expected LABEL:LABEL"),
        (("--alpha", "0.9"), "alpha must be in"),
    ],
)
def test_create_says_what_is_wrong(create, capsys, extra, message):
    with pytest.raises(SystemExit) as stop:
        create(*extra)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def checkpoint(folder, contract):
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"family": "compact", "contract": spec.to_plain(contract)})
    (folder / "checkpoint.yaml").write_text(text)


def test_the_contract_is_that_of_the_checkpoints(create, tmp_path):
    checkpoint(tmp_path / "runs" / "checkpoint", franka_compact())
    study, _ = create(contract_id=None)
    assert study.contract_id == franka_compact().id


def test_checkpoints_of_two_contracts_make_no_study(create, tmp_path, capsys):
    checkpoint(tmp_path / "runs", franka_compact())
    checkpoint(tmp_path / "other", franka_third_person())
    with pytest.raises(SystemExit):
        create("--policy", f"other={tmp_path / 'other'}", contract_id=None)
    error = capsys.readouterr().err
    assert f"sft {franka_compact().id}, other {franka_third_person().id}" in error
    assert not (tmp_path / "study").exists()


def test_without_a_checkpoint_the_contract_must_be_given(create, tmp_path, capsys):
    with pytest.raises(SystemExit):
        create(contract_id=None)
    assert "give --contract-id" in capsys.readouterr().err


def test_status_verify_unblind_report(tmp_path, capsys):
    files = write_study(tmp_path, conditions=4)
    where = ("--study", str(files.study), "--ledger", str(files.ledger))
    main(["status", *where])
    output = capsys.readouterr().out
    assert "12 of 12 trials done" in output
    assert "success" not in output
    main(["verify", *where])
    assert "unbroken" in capsys.readouterr().out
    main(["unblind", *where, "--key", str(files.key), "--who", "ada"])
    assert "= rl-co" in capsys.readouterr().out
    out = tmp_path / "out" / "report.html"
    main(["report", *where, "--key", str(files.key), "--out", str(out)])
    assert "unblind by ada" in out.read_text()
    main(["report", "--inputs", str(files.inputs), "--out", str(out)])
    assert "How the policies were trained" in out.read_text()


def test_status_of_a_run_in_progress(tmp_path, capsys):
    files = write_study(tmp_path, conditions=4, trials=5)
    main(["status", "--study", str(files.study), "--ledger", str(files.ledger)])
    assert "next: trial 5, c" in capsys.readouterr().out
    key = ("--study", files.study, "--ledger", files.ledger, "--key", files.key)
    assert "7 trials are still to be run" in fails(capsys, "unblind", *key)


def test_errors_are_one_line_and_exit_2(tmp_path, capsys):
    files = write_study(tmp_path, conditions=4)
    files.ledger.write_bytes(files.ledger.read_bytes().replace(b'"steps":', b'"steps":1', 1))
    assert "was edited" in fails(capsys, "verify", "--ledger", files.ledger)
    out = tmp_path / "r.html"
    error = fails(capsys, "report", "--study", "none", "--ledger", "none", "--out", out)
    assert "none: cannot read this Study file" in error
    assert "give either" in fails(capsys, "report", "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("command", ["create", "status", "verify", "unblind", "report"])
def test_help_explains_every_command(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"$ rlco-eval {command}" in capsys.readouterr().out
