from __future__ import annotations

from dataclasses import replace

import pytest
from rlco_datasets import spec
from rlco_evaluation import blinding
from rlco_evaluation.fingerprint import fingerprint
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord


@pytest.fixture
def key(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "weights.bin").write_bytes(b"1")
    return blinding.blind(
        "fake", {"real": str(tmp_path / "real"), "sft": "", "rl": ""}, seed=3, salt="ab"
    )


@pytest.fixture
def locked(study, key):
    return replace(study, key_commitment=key.commitment)


def test_codes_follow_the_seed_and_cover_every_label(key):
    orders = {
        tuple(blinding.blind("s", {"x": "", "y": "", "z": ""}, seed=seed, salt="").labels.items())
        for seed in range(40)
    }
    assert len(orders) == 6
    assert set(key.labels) == {"A", "B", "C"}
    assert key.labels[key.code("sft")] == "sft"
    assert key.entries[0].checkpoint_hash == fingerprint(key.entries[0].checkpoint)


def test_the_commitment_survives_yaml_and_notices_every_change(key, locked, tmp_path):
    spec.save(key, tmp_path / "key.yaml")
    blinding.require_key(locked, spec.load(blinding.Key, tmp_path / "key.yaml"))
    swapped = replace(
        key,
        entries=(
            replace(key.entries[0], code=key.entries[1].code),
            replace(key.entries[1], code=key.entries[0].code),
            key.entries[2],
        ),
    )
    for other in (swapped, replace(key, salt="cd")):
        with pytest.raises(blinding.BlindingError, match="is not the one that study 'fake'"):
            blinding.require_key(locked, other)


def test_unblinding_waits_for_the_last_trial_and_is_logged(locked, key, ledger_path):
    with Ledger.open(ledger_path, locked, mode="a") as ledger:
        with pytest.raises(blinding.BlindingError, match="12 trials are still to be run"):
            blinding.unblind(locked, ledger, key, who="ada")
        assert not ledger.events
        for trial in ledger.remaining(locked):
            ledger.append(
                TrialRecord(
                    index=trial.index,
                    condition=trial.condition,
                    code=trial.code,
                    status="done",
                    success=True,
                )
            )
        blinding.unblind(locked, ledger, key, who="ada")
    with Ledger.open(ledger_path, locked) as ledger:
        (event,) = ledger.events
        assert (event.what, event.who) == ("unblind", "ada")
        assert key.commitment in event.text
        assert event.utc


def test_a_missing_checkpoint_and_an_unknown_label_are_named(key):
    with pytest.raises(blinding.BlindingError, match="'sft': no checkpoint at /nowhere/at/all"):
        blinding.blind("s", {"sft": "/nowhere/at/all"})
    with pytest.raises(blinding.BlindingError, match="no policy 'typo'"):
        key.code("typo")


def test_a_folder_is_known_by_its_names_and_contents(tmp_path):
    folder = tmp_path / "a"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x").write_bytes(b"x")
    before = fingerprint(folder)
    (folder / "sub" / "x").rename(folder / "sub" / "y")
    renamed = fingerprint(folder)
    (folder / "sub" / "y").write_bytes(b"z")
    assert len({before, renamed, fingerprint(folder)}) == 3
    with pytest.raises(FileNotFoundError, match="nothing there"):
        fingerprint(tmp_path / "b")
