from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.studies import make_study
from rlco_datasets import spec
from rlco_evaluation import blinding
from rlco_evaluation.analysis import analyse, paired_counts
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.report import words
from rlco_evaluation.schedule import schedule
from rlco_evaluation.statistics import PairedCounts


def run(path, study, success, count=None, **fields):
    """Run `count` trials; `success` says from (condition, code) whether a trial succeeds."""
    with Ledger.open(path, study, mode="a") as ledger:
        for trial in ledger.remaining(study)[:count]:
            ledger.append(
                TrialRecord(
                    index=trial.index,
                    condition=trial.condition,
                    code=trial.code,
                    **(
                        {
                            "status": "done",
                            "success": success(trial.condition, trial.code),
                            "policy_id": trial.code,
                        }
                        | fields
                    ),
                )
            )


def analysed(path, study, key=None):
    with Ledger.open(path, study) as ledger:
        return analyse(study, ledger, key)


def test_pairs_are_the_trials_of_one_block(ledger_path):
    study = make_study(6, "AB", repeats=2)
    won = {("c00", "A"), ("c01", "A"), ("c01", "B"), ("c02", "B")}
    run(ledger_path, study, lambda condition, code: (condition, code) in won)
    analysis = analysed(ledger_path, study)
    expected = PairedCounts(both=2, only_first=2, only_second=2, neither=6)
    assert paired_counts(schedule(study), analysis.done, "A", "B") == expected
    assert analysis.finished
    assert [(policy.successes, policy.n) for policy in analysis.policies] == [(4, 12), (4, 12)]


def test_a_lopsided_study_has_a_winner_and_an_even_one_has_none(tmp_path):
    study = make_study(20, "AB")
    run(tmp_path / "a.jsonl", study, lambda condition, code: code == "B")
    analysis = analysed(tmp_path / "a.jsonl", study)
    (row,) = analysis.comparisons
    assert (row.first.code, row.second.code) == ("B", "A")
    assert row.decided
    assert row.difference == 1.0
    assert words.verdict(analysis) == "B is better than A."
    run(tmp_path / "b.jsonl", study, lambda condition, code: condition > "c09")
    analysis = analysed(tmp_path / "b.jsonl", study)
    (row,) = analysis.comparisons
    assert not row.decided
    assert row.p == 1.0
    assert words.verdict(analysis) == "Not told apart: B and A."
    assert "not evidence that they are equal" in words.sentence(row, study.alpha)


def test_an_unfinished_study_has_no_verdict(ledger_path):
    study = make_study(20, "AB")
    assert words.verdict(_empty(ledger_path, study)).startswith("Not finished: 0 of 40")
    run(ledger_path, study, lambda condition, code: code == "B", count=31)
    analysis = analysed(ledger_path, study)
    assert analysis.remaining == 9
    assert words.verdict(analysis) == "Not finished: 31 of 40 trials done."
    assert any("31 of 40 planned trials are done" in warning for warning in analysis.warnings)


def _empty(path, study):
    Ledger.open(path, study, mode="a").close()
    return analysed(path, study)


def test_trials_that_stay_void_leave_a_finished_study_with_a_gap(ledger_path):
    study = make_study(4, "AB", max_attempts=2)
    first = schedule(study)[0]
    for _ in range(2):
        run(ledger_path, study, lambda *_: None, count=1, status="void", reason="cable")
    run(ledger_path, study, lambda condition, code: True)
    analysis = analysed(ledger_path, study)
    assert analysis.finished
    assert len(analysis.void) == 2
    assert analysis.policy(first.code).n == 3
    assert analysis.comparisons[0].counts.n == 3
    assert any("void 2 times each and not run again: 1" in warning for warning in analysis.warnings)


def test_a_wrong_server_and_a_helping_hand_are_pointed_out(ledger_path):
    study = make_study(4, "AB")
    run(ledger_path, study, lambda *_: True, count=4, policy_id="x", interventions=1)
    run(ledger_path, study, lambda *_: True, policy_id="y")
    warnings = " ".join(analysed(ledger_path, study).warnings)
    assert "A was answered by more than one checkpoint: x, y" in warnings
    assert "A and B were answered by one checkpoint, x" in warnings
    assert "stepped in 4 times" in warnings


def test_early_unblinding_is_pointed_out(finished, ledger_path):
    key = spec.load(blinding.Key, finished.key)
    study = make_study(3, comparisons=(), key_commitment=key.commitment)
    run(ledger_path, study, lambda *_: True, count=2)
    with Ledger.open(ledger_path, study, mode="a") as ledger:
        blinding.unblind(study, ledger, key, who="ada", early=True)
    assert not any("unblinded" in warning for warning in analysed(ledger_path, study).warnings)
    run(ledger_path, study, lambda *_: True, utc="2999-01-01T00:00:00+00:00")
    assert any("after the study had been" in w for w in analysed(ledger_path, study).warnings)


def test_labels_come_with_the_key_alone(finished):
    from rlco_evaluation.study import Study

    study = spec.load(Study, finished.study)
    key = spec.load(blinding.Key, finished.key)
    assert [policy.label for policy in analysed(finished.ledger, study).policies] == ["A", "B", "C"]
    analysis = analysed(finished.ledger, study, key)
    assert [policy.label for policy in analysis.policies] == ["real-only", "sft", "rl-co"]
    with pytest.raises(blinding.BlindingError, match="is not the one"):
        analysed(finished.ledger, study, replace(key, seed=9))


def test_drift_is_seen_in_halves(ledger_path):
    study = make_study(20, "AB")
    run(ledger_path, study, lambda *_: True, count=20)
    run(ledger_path, study, lambda *_: False)
    drift = analysed(ledger_path, study).drift
    assert (drift.early, drift.late) == ((20, 20), (0, 20))
    assert drift.p < 1e-6
