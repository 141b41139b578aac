"""What a seed of a study would run: every command, with nothing run."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import get_args

import pytest
from fakes.study_commands import SIZES, install
from rlco_calibration.twin import load_twin
from rlco_datasets import spec
from rlco_datasets.initial_condition import ConditionList
from rlco_trainer.cli import Stage1, main, parse
from rlco_trainer.stage1 import Stage1Config
from rlco_trainer.studies.arms import StudyName, Usual, study
from rlco_trainer.studies.cli import StudyCommand
from rlco_trainer.studies.places import TEST_SEED, SeedFolder, read_settings
from rlco_trainer.studies.recipes import RECIPES
from rlco_trainer.studies.results import markdown, read_csv, rows_of
from rlco_trainer.studies.steps import StepFailedError, read_journal
from rlco_trainer.studies.variations import uncalibrated


def command(name, out):
    return StudyCommand(name=name, out=out, seeds=(3,), usual=Usual(real_demos=4), sizes=SIZES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run seed 3 of a study, once; return what it compares, its commands and its folder."""
    done = {}

    def of(name):
        if name not in done:
            out = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                fake = install(patch)
                command(name, out).run()
            chosen, seed = study(name, Usual(real_demos=4)), SeedFolder(out / "seed-3", SIZES, 3)
            assert set(read_journal(seed.folder)["steps"]) == set(seed.steps_of(name, chosen))
            done[name] = (chosen, fake, seed)
        return done[name]

    return of


def option(line, name):
    return line[line.index(name) + 1]


def options(line, name):
    """Return all values of an option."""
    return list(takewhile(lambda word: word[:2] != "--", line[line.index(name) + 1 :]))


@pytest.mark.parametrize("name", get_args(StudyName))
def test_every_study_ends_with_rows_a_table_and_a_figure(run, name):
    chosen, _, seed = run(name)
    at = seed.folder.parent / name
    cells = len(chosen.policies) * len(SIZES.tasks) * len(chosen.tests) * len(("twin", "lab"))
    assert len(read_csv(at / "results.csv")) == cells
    assert chosen.title in (at / "table.md").read_text()
    assert (at / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["main-table", "calibration", "generalisation"])
def test_no_training_and_no_calibration_is_given_the_hidden_twin(run, name):
    _, noted, _ = run(name)
    for line in noted.commands:
        reads = " ".join(word for word in line if not word.startswith("--out"))
        if "hidden" in reads:
            assert line[0] == "rlco-up" or line[:2] == ["rlco-lab", "draw"], line
    lab = noted.of("rlco-lab", "draw")
    assert all("hidden" not in option(line, "--twin") for line in lab)


def test_calibration_trains_in_what_was_recovered_and_in_what_was_made_wrong(run):
    chosen, noted, seed = run("calibration")
    recovered, wrong = seed.bench("recovered"), seed.bench("uncalibrated")
    assert load_twin(wrong) == uncalibrated(load_twin(recovered), 3)
    assert "uncalibrated" in load_twin(wrong).name
    (measured,) = noted.of("rlco-up", "calibrate")
    assert f"twin:={seed.folder}/lab/hidden.yaml" in measured
    assert "automatic:=true" in measured
    for kind in ("demos", "stage2"):
        twins = {option(line, "--twin") for line in noted.of("rlco-train", kind)}
        assert twins == {str(recovered), str(wrong)}
    for arm in chosen.arms:
        (stage1,) = [
            line
            for line in noted.of("rlco-train", "stage1")
            if option(line, "--out") == str(seed.folder / arm.stage1_folder)
        ]
        assert option(stage1, "--sim").endswith(f"-in-{arm.bench}.zarr")
        assert ("--real" in stage1) == (arm.alpha < 1)
    assert len(noted.of("rlco-up", "collect")) == 2


def test_generalisation_tries_the_main_tables_policies_on_what_they_never_met(run):
    chosen, noted, seed = run("generalisation")
    main = study("main-table", Usual(real_demos=4))
    assert {arm.folder for arm in chosen.arms} <= {arm.folder for arm in main.arms}
    trials = noted.of("rlco-up", "eval")
    assert len(trials) == 2 * 3 * len(SIZES.tasks), "of the arms, and of the controls"
    labs = {next(word for word in line if word.startswith("twin:=")) for line in trials}
    assert labs == {f"twin:={seed.lab(test)}" for test in ("", "unseen objects")}
    objects = str(seed.folder / "unseen-objects.yaml")
    drawn = noted.of("rlco-lab", "draw")
    assert [option(line, "--twin") for line in drawn] == [str(SIZES.twin), objects]
    assert len({option(line, "--seed") for line in drawn}) == 1, "the same lab but for the objects"
    evaluated = noted.of("rlco-train", "eval")
    assert len(evaluated) == 6 * 3, "one start of workers an arm and test, for all tasks"
    for line in evaluated:
        assert tuple(options(line, "--tasks")) == SIZES.tasks
    found = [options(line, "--conditions") for line in evaluated if "--conditions" in line]
    assert len(found) == 6
    assert found[0] == [str(seed.unseen_starts(task, TEST_SEED)) for task in SIZES.tasks]
    starts = [path for paths in found for path in paths]
    assert len(spec.load(ConditionList, starts[0]).conditions) == SIZES.sim_episodes
    plans = [option(line, "--conditions") for line in noted.of("rlco-eval", "create")]
    assert len(set(plans)) == 3 * len(SIZES.tasks), "arms and controls begin alike"
    assert sorted(plans[: len(plans) // 2]) == sorted(plans[len(plans) // 2 :])
    assert not set(plans) & set(starts), "trials and evaluations share no starts"


@pytest.mark.parametrize("preset", ["pi05-tiny", "openvla-tiny"])
def test_a_tiny_preset_has_its_stem_trained_first_and_frozen(monkeypatch, tmp_path, preset):
    fake = install(monkeypatch)
    sizes = replace(SIZES, preset=preset, trials=0)
    StudyCommand(name="real-data-ablation", out=tmp_path, seeds=(3,), sizes=sizes).run()
    seed = SeedFolder(tmp_path / "seed-3", sizes, 3)
    (made,) = fake.of("rlco-train", "init")
    assert option(made, "--preset") == preset
    assert option(made, "--out") == str(seed.untrained)
    stems = fake.of("--objective", "stem")
    stage1 = fake.of("--freeze-stem")
    assert len(stems) == len(stage1) == 2, "four arms, and two mixtures of data"
    assert len(fake.of("rlco-train", "stage1")) == 4
    for stem, whole in zip(stems, stage1, strict=True):
        assert option(stem, "--init") == str(seed.untrained)
        assert option(whole, "--init") == f"{option(stem, '--out')}/checkpoint"
        shared = ("--alpha", "--sim", "--seed", "--threads", "--balance")
        assert [options(stem, name) for name in shared] == [options(whole, n) for n in shared]
        assert ("--real" in stem) == ("--real" in whole) == (option(whole, "--alpha") != "1.0")
        assert option(stem, "--steps") == str(RECIPES[preset].stem_steps)
        assert option(whole, "--steps") == str(RECIPES[preset].steps)
        assert option(whole, "--ema-decay") == str(RECIPES[preset].ema_decay)
    assert {option(line, "--threads") for line in fake.of("rlco-train", "stage2")} == {"1"}
    journal = read_journal(seed.folder)
    wanted = seed.steps_of("real-data-ablation", study("real-data-ablation", Usual()))
    assert set(journal["steps"]) == set(wanted)
    kept, robot = read_settings(journal["settings"], "journal")
    assert kept.settings() == sizes.settings()
    assert robot is None
    with pytest.raises(StepFailedError, match=f"preset: '{preset}', now None"):
        StudyCommand(
            name="sim-init", out=tmp_path, seeds=(3,), sizes=replace(SIZES, trials=0)
        ).run()


def test_a_large_model_starts_from_its_public_weights_on_the_device_asked_for(
    monkeypatch, tmp_path
):
    fake = install(monkeypatch)
    machine = {"device": "cuda", "precision": "bf16", "moments": "8bit"}
    init = tmp_path / "models" / "pi05-base"
    sizes = replace(SIZES, preset="pi05-3b", init=init, batch=8, trials=0, **machine)
    usual = Usual(controls=False)
    StudyCommand(name="sim-init", out=tmp_path / "runs", seeds=(3,), usual=usual, sizes=sizes).run()
    assert not fake.of("rlco-train", "init")
    stage1, stage2 = (fake.of("rlco-train", stage) for stage in ("stage1", "stage2"))
    assert len(stage1) == len(stage2) == 2
    for line in (*stage1, *stage2):
        assert {name: option(line, f"--{name}") for name in machine} == machine
    assert {option(line, "--init") for line in stage1} == {str(init)}
    assert {option(line, "--batch") for line in stage1} == {"8"}
    seed = SeedFolder(tmp_path / "runs/seed-3", sizes, 3)
    journal = read_journal(seed.folder)
    assert set(journal["steps"]) == set(seed.steps_of("sim-init", study("sim-init", usual)))
    assert read_settings(journal["settings"], "journal")[0].init == init
    where = (str(tmp_path / "runs"), "--docs", str(tmp_path / "docs"))
    main(["study-report", *where, "--no-controls"])
    page = (tmp_path / "docs/results.md").read_text(encoding="utf-8")
    assert "--no-controls" in page
    assert "--preset pi05-3b --init models/pi05-base --device cuda" in page
    assert str(tmp_path) not in page


def test_recipes_are_those_of_the_documentation():
    text = (Path(__file__).parents[3] / "docs/models.md").read_text(encoding="utf-8")
    block = text.partition("## The tiny presets from scratch")[2].partition("```bash")[2]
    lines = block.partition("```")[0].replace("\\\n", " ").splitlines()
    commands = [parse(shlex.split(line)[1:]) for line in lines if " stage1 " in line]
    runs = [command.config for command in commands if isinstance(command, Stage1)]
    (stem,) = [run for run in runs if run.objective == "stem"]
    trained = {Path(run.out).name: run.config for run in commands if isinstance(run, Stage1)}
    for preset in ("pi05-tiny", "openvla-tiny"):
        recipe, documented = RECIPES[preset], trained[preset.removesuffix("-tiny")]
        assert documented.freeze_stem
        asked = {
            name: value
            for name in ("steps", "batch", "threads", "learning_rate", "ema_decay")
            if (value := getattr(recipe, name)) is not None
        }
        assert documented == replace(documented, **asked)
        left = {"learning_rate", "ema_decay"} - set(asked)
        assert all(getattr(documented, name) == getattr(Stage1Config(), name) for name in left)
        assert (stem.steps, stem.threads) == (recipe.stem_steps, recipe.threads)


def test_a_folder_from_before_there_was_a_choice_of_models_is_gone_on_with():
    settings = SIZES.settings()
    later = {"preset", "threads", "stem_steps", "init", "device", "precision", "moments"}
    assert not later & set(settings)
    assert (settings["stage1_steps"], settings["batch"]) == (3000, 128)
    assert read_settings(settings, "journal")[0].settings() == settings


def test_trials_of_other_policies_are_not_taken_for_these(monkeypatch, tmp_path, capsys):
    install(monkeypatch)
    short = {"name": "main-table", "out": tmp_path, "seeds": (3,), "sizes": SIZES}
    StudyCommand(**short, usual=Usual(controls=False)).run()
    ledgers = {path: path.read_bytes() for path in tmp_path.glob("seed-3/trials/*/ledger.jsonl")}
    assert ledgers
    for changed, reason in (
        (Usual(controls=False, alpha=0.8), "SFT co-training was stage1-alpha0.6-real10 and is to"),
        (Usual(), "RL of sim only was not tried and is to be stage2-beta0-of-stage1-alpha1"),
    ):
        with pytest.raises(StepFailedError, match=reason):
            StudyCommand(**short, usual=changed).run()
    StudyCommand(**short, usual=Usual(controls=False)).run()
    with pytest.raises(SystemExit):
        main(
            [
                "study-report",
                str(tmp_path),
                "--docs",
                str(tmp_path / "docs"),
                "--alpha",
                "0.8",
                "--no-controls",
            ]
        )
    assert "holds trials of other policies" in capsys.readouterr().err
    assert ledgers == {path: path.read_bytes() for path in ledgers}


def test_rows_say_what_was_unseen_and_a_second_run_does_nothing(run, monkeypatch):
    chosen, _, seed = run("generalisation")
    rows = rows_of("generalisation", chosen, seed)
    places = [
        f"{where}{test}"
        for where in ("twin", "lab")
        for test in ("", ", unseen objects", ", unseen starts")
    ]
    assert list(dict.fromkeys(row.place for row in rows)) == places
    text = markdown(chosen, rows)
    assert all(f"{chosen.title}: {place}**" in text for place in places)
    again = install(monkeypatch)
    command("generalisation", seed.folder.parent).run()
    assert again.commands == []
