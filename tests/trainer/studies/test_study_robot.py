"""A study of a robot: trained here, tried there, and read back from the ledgers."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fakes.episodes import make_store
from fakes.study_commands import SIZES, install, understood
from rlco.resources import data_file
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.schedule import schedule
from rlco_evaluation.study import Study
from rlco_trainer.cli import main
from rlco_trainer.studies import cli
from rlco_trainer.studies import report as report_module
from rlco_trainer.studies.arms import Usual, study
from rlco_trainer.studies.cli import StudyCommand
from rlco_trainer.studies.page import ROBOT
from rlco_trainer.studies.places import SeedFolder, read_settings
from rlco_trainer.studies.results import UnfinishedError, read_csv
from rlco_trainer.studies.robot import RobotError, contract_for, load_robot
from rlco_trainer.studies.steps import read_journal

DEMOS = 3
USUAL = Usual(real_demos=DEMOS)
RATES = {"stage2-beta0.5-of-stage1-alpha0-real3": 1 / 3}


def rate(run, task):
    """A made-up success rate of each policy; most of them always succeed."""
    return RATES.get(run, 1.0)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Figures have tests of their own."""
    for module in (cli, report_module):
        monkeypatch.setattr(module, "draw", lambda chosen, rows, path: path.write_bytes(b"PNG"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A bench's own files: two stores, a measured twin, the bench."""
    at = tmp_path_factory.mktemp("bench")
    for task in SIZES.tasks:
        make_store(at / f"{task}.zarr", franka_compact(), (6,) * DEMOS, task=task)
    make_store(at / "mixed.zarr", franka_compact(), (6,), task="close_drawer")
    (at / "twin.yaml").write_bytes(demo_bench().read_bytes())
    spec.save(replace(load_twin(demo_bench()), name="others"), at / "other-objects.yaml")
    text = data_file("config/bench_fr3_fci_uvc.yaml").read_text(encoding="utf-8")
    (at / "bench.yaml").write_text(text.replace("franka_third_person", "franka_compact"))
    return at


def write_robot(files, **changes):
    """Write a robot's file beside what it names; return its path."""
    lines = {
        "name": "cell-2",
        "bench": "bench.yaml",
        "twin": "twin.yaml",
        "real": "{push_cube: push_cube.zarr, open_drawer: open_drawer.zarr}",
        **changes,
    }
    path = files / f"robot-{len(list(files.glob('robot-*')))}.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items() if value))
    return path


def command(robot, out, name="sim-init", **changes):
    return StudyCommand(
        name=name, out=out, seeds=(0, 1), robot=robot, usual=USUAL, sizes=SIZES, **changes
    )


def launches(told):
    """Return the arguments of every printed launch of trials, each read by rlco's own graph."""
    found = []
    for line in told.splitlines():
        if not line.startswith("  $ "):
            continue
        words = shlex.split(line)[1:]
        if words[:4] == ["ros2", "launch", "rlco", "eval.launch.py"]:
            understood(["rlco-up", "eval", *words[4:]])
            found.append(dict(word.split(":=") for word in words[4:]))
        else:
            assert words[0] == "rlco-serve"
            understood(words)
    return found


def record_some(given, count):
    """Write the first trials as the evaluation on the robot does, and no more."""
    planned = spec.load(Study, given["study"])
    with Ledger.open(given["ledger"], planned, "a") as ledger:
        for trial in schedule(planned)[:count]:
            ledger.begin(trial.index)
            ledger.append(
                TrialRecord(
                    index=trial.index,
                    condition=trial.condition,
                    code=trial.code,
                    status="done",
                    success=True,
                    duration_s=4.0,
                )
            )


@pytest.mark.parametrize("ledgers", ["", "arrived"])
def test_a_study_waits_for_the_ledgers_and_goes_on_with_them(
    files, monkeypatch, tmp_path, capsys, ledgers
):
    fake = install(monkeypatch, rate)
    robot = write_robot(files, ledgers=ledgers, server="http://gpu:8123")
    run = command(robot, tmp_path / "runs")
    with pytest.raises(UnfinishedError, match="8 ledgers are not complete"):
        run.run()
    told = capsys.readouterr().out
    trials = launches(told)
    chosen = study("sim-init", USUAL)
    every = SIZES.trials * len(chosen.arms)
    assert told.count(f"{every} of {every} trials are to be run") == 4
    others = SIZES.trials * len(chosen.controls)
    assert told.count(f"{others} of {others} trials are to be run") == 4
    assert told.count("--port 8123") == len(trials) == 8
    assert all(line["server"] == "http://gpu:8123" for line in trials)
    assert all(line["bench"] == str(files / "bench.yaml") for line in trials)
    assert not (tmp_path / "runs" / "sim-init").exists()

    before = len(fake.commands)
    record_some(trials[0], 5)
    for given in trials[1:]:
        fake._write_ledger(given)
    with pytest.raises(UnfinishedError, match="1 ledgers are not complete"):
        run.run()
    assert f"{every - 5} of {every} trials are to be run" in capsys.readouterr().out
    Path(trials[0]["ledger"]).unlink()
    fake._write_ledger(trials[0])
    run.run()
    assert len(fake.commands) == before, "nothing is trained or planned twice"
    rows = read_csv(tmp_path / "runs/sim-init/results.csv")
    assert {row.place for row in rows} == {"twin", "robot"}
    found = {(row.arm, round(row.rate, 3)) for row in rows if row.place == "robot"}
    assert found == {
        ("without sim SFT", 0.333),
        ("with sim SFT", 1.0),
        *((arm.label, 1.0) for arm in chosen.controls),
    }
    assert ": robot**" in (tmp_path / "runs/sim-init/table.md").read_text()

    where = (str(tmp_path / "runs"), "--docs", str(tmp_path / "docs"))
    main(["study-report", *where, "--real-demos", str(DEMOS), "--names", "sim-init"])
    page = (tmp_path / "docs/results.md").read_text(encoding="utf-8")
    assert ROBOT in page
    assert "**held** on the robot" in page
    assert "--robot cell-2.yaml" in page
    assert str(files) not in page


def test_no_lab_is_drawn_and_everything_is_the_robots(files, monkeypatch, tmp_path, capsys):
    fake = install(monkeypatch, rate)
    robot = write_robot(files)
    for name in ("sim-init", "calibration"):
        with pytest.raises(UnfinishedError):
            command(robot, tmp_path, name).run()
        chosen, journal = study(name, USUAL), read_journal(tmp_path / "seed-0")
        sizes, kept = read_settings(journal["settings"], "journal")
        assert kept == load_robot(robot)
        seed = SeedFolder(tmp_path / "seed-0", sizes, 0, kept)
        left = set(seed.steps_of(name, chosen)) - set(journal["steps"])
        assert left == set(seed.trial_steps(name, chosen))
    assert not fake.of("rlco-lab")
    assert not fake.of("rlco-up")
    assert not [word for line in fake.commands for word in line if "hidden" in word]
    for line in fake.of("rlco-train", "demos"):
        given = dict(pairwise(line))
        assert given["--contract"].endswith("contract.yaml")
        assert given["--twin"] in (str(files / "twin.yaml"), str(seed.bench("uncalibrated"))) or (
            given["--twin"] == str(tmp_path / "seed-1" / "uncalibrated.yaml")
        )
    stage1 = [line for line in fake.of("rlco-train", "stage1") if "--real" in line]
    for line in stage1:
        at = line.index("--real")
        assert line[at + 1 : at + 3] == [str(files / f"{task}.zarr") for task in SIZES.tasks]
    wrong = load_twin(seed.bench("uncalibrated"))
    assert wrong.cameras != load_twin(files / "twin.yaml").cameras
    assert "calibrate" not in capsys.readouterr().out.replace("uncalibrated", "")


def test_unseen_objects_are_those_that_the_lab_measured(files, monkeypatch, tmp_path, capsys):
    install(monkeypatch, rate)
    with pytest.raises(RobotError, match=r"name their twin under `unseen_objects`"):
        command(write_robot(files), tmp_path, "generalisation").run()
    robot = write_robot(files, unseen_objects="other-objects.yaml")
    with pytest.raises(UnfinishedError, match="24 ledgers"):
        command(robot, tmp_path, "generalisation").run()
    measured = [given["measured"] for given in launches(capsys.readouterr().out)]
    assert measured.count(str(files / "other-objects.yaml")) == 2 * 4
    assert measured.count(str(files / "twin.yaml")) == 2 * 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real": "{push_cube: push_cube.zarr}"}, "no store of real demonstrations of open_drawer"),
        (
            {"real": "{push_cube: push_cube.zarr, open_drawer: mixed.zarr}"},
            "holds close_drawer too",
        ),
    ],
)
def test_stores_that_do_not_serve_are_named(files, changes, message):
    robot = load_robot(write_robot(files, **changes))
    with pytest.raises(RobotError, match=message):
        contract_for(robot, SIZES.tasks, study("beta", USUAL))


def test_too_few_demonstrations_simulated_ones_and_another_contract_are_named(files, tmp_path):
    robot = load_robot(write_robot(files))
    with pytest.raises(RobotError, match="3 successful demonstrations of push_cube, and"):
        contract_for(robot, SIZES.tasks, study("data-efficiency", USUAL))
    for name, contract, source, message in (
        ("sim", franka_compact(), "sim", "are simulated, not real"),
        ("large", franka_third_person(), "real", "Use a twin and stores of one contract"),
    ):
        make_store(
            tmp_path / name, contract, (3,) * DEMOS, task="push_cube", source=source, extras=False
        )
        other = replace(robot, real={"push_cube": str(tmp_path / name)})
        with pytest.raises(RobotError, match=message):
            contract_for(other, ("push_cube",), study("beta", USUAL))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"server": "gpu"}, "as http://gpu:8000, got 'gpu'"), ({"twim": "x"}, "twim")],
)
def test_a_malformed_file_is_refused(files, changes, message):
    path = write_robot(files, **changes)
    with pytest.raises(spec.SpecError, match=message):
        load_robot(path)
