"""What a seed of a study would run: every command, with nothing run."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.initial_condition import ConditionList
from rlco_trainer.studies import pipeline, steps
from rlco_trainer.studies.arms import study
from rlco_trainer.studies.pipeline import Seed, Sizes
from rlco_trainer.studies.results import markdown, rows_of
from rlco_trainer.studies.variations import uncalibrated

SIZES = Sizes(tasks=("push_cube", "open_drawer"), collected=4, sim_episodes=6, trials=3)
TWIN = load_twin(demo_bench())
RECOVERED = "recovered-twin"


class Run:
    """Notes commands instead of running them; does what they leave behind that others read."""

    def __init__(self):
        self.commands: list[list[str]] = []

    def __call__(self, words, log):
        self.commands.append(words)
        given = dict(pairwise(words))
        if "walk" in words:
            twin = spec.from_plain(
                type(TWIN), spec.to_plain(TWIN) | {"name": RECOVERED}, where="test"
            )
            spec.save(twin, f"{given['--folder']}/twin.yaml")
        if "eval" in words and "--json" in given:
            result = {"successes": 3, "episodes": SIZES.sim_episodes}
            with open(given["--json"], "w") as file:
                json.dump(result, file)

    def of(self, *words):
        return [line for line in self.commands if set(words) <= set(line)]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a study's commands, without the lab's trials; return the commands and the seed."""

    def of(name):
        noted = Run()
        monkeypatch.setattr(steps, "execute", noted)
        monkeypatch.setattr(steps, "script", lambda name: name)
        trials = []
        monkeypatch.setattr(Seed, "_run_trials", lambda self, at, test: trials.append((at, test)))
        chosen = study(name, real_demos=4, alpha=0.6, beta=0.5)
        seed = Seed(tmp_path / "seed-3", SIZES, 3)
        seed.collect(chosen.benches, chosen.tests)
        for arm in chosen.arms:
            seed.train(arm)
            for test in chosen.tests:
                seed.evaluate_in_twin(arm, test)
        for test in chosen.tests:
            seed.evaluate_in_lab(name, chosen.arms, test)
        return chosen, noted, seed, trials

    return of


def option(line, name):
    return line[line.index(name) + 1]


@pytest.mark.parametrize("name", ["main-table", "calibration", "generalisation"])
def test_no_training_and_no_calibration_is_given_the_hidden_twin(run, name):
    _, noted, _, _ = run(name)
    for line in noted.commands:
        reads = " ".join(word for word in line if not word.startswith("--out"))
        if "hidden" in reads:
            assert line[0] == "rlco-up" or line[:2] == ["rlco-lab", "draw"], line
    lab = noted.of("rlco-lab", "draw")
    assert all("hidden" not in option(line, "--twin") for line in lab)


def test_calibration_trains_in_what_was_recovered_and_in_what_was_made_wrong(run):
    chosen, noted, seed, _ = run("calibration")
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
    chosen, noted, seed, trials = run("generalisation")
    main = study("main-table", real_demos=4, alpha=0.6, beta=0.5)
    assert {arm.folder for arm in chosen.arms} <= {arm.folder for arm in main.arms}
    assert {test for _, test in trials} == {"", "unseen objects", "unseen starts"}
    assert len(trials) == 3 * len(SIZES.tasks)
    objects = str(seed.folder / "unseen-objects.yaml")
    drawn = noted.of("rlco-lab", "draw")
    assert [option(line, "--twin") for line in drawn] == [str(SIZES.twin), objects]
    assert len({option(line, "--seed") for line in drawn}) == 1, "the same lab but for the objects"
    evaluated = noted.of("rlco-train", "eval")
    assert len(evaluated) == 3 * 3 * len(SIZES.tasks)
    starts = [option(line, "--conditions") for line in evaluated if "--conditions" in line]
    assert len(starts) == 3 * len(SIZES.tasks)
    assert len(spec.load(ConditionList, starts[0]).conditions) == SIZES.sim_episodes
    plans = [option(line, "--conditions") for line in noted.of("rlco-eval", "create")]
    assert len(set(plans)) == len(plans)
    assert not set(plans) & set(starts), "trials and evaluations share no starts"


def test_rows_say_what_was_unseen_and_a_second_run_does_nothing(run, monkeypatch):
    monkeypatch.setattr(pipeline, "policy_server", None)
    chosen, _, seed, _ = run("generalisation")
    alone = Seed.__new__(Seed)
    alone.__dict__ = vars(seed) | {"sizes": Sizes(tasks=SIZES.tasks, trials=0)}
    rows = rows_of("generalisation", chosen, alone)
    places = ["twin", "twin, unseen objects", "twin, unseen starts"]
    assert list(dict.fromkeys(row.place for row in rows)) == places
    text = markdown(chosen, rows)
    assert all(f"{chosen.title}: {place}**" in text for place in places)
    _, again, _, _ = run("generalisation")
    assert again.commands == []
