"""Checkpoints: what is written comes back, and what is wrong is refused with a remedy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from rlco_datasets.contract import ContractMismatchError, franka_compact, franka_third_person
from rlco_trainer.checkpoint import CheckpointError, checkpoint_id, load_policy, save_policy
from rlco_trainer.untrained import write_untrained


@pytest.fixture
def folder(tmp_path):
    write_untrained("compact", franka_compact(), tmp_path / "checkpoint", seed=1)
    return tmp_path / "checkpoint"


def edit_card(folder, **changes):
    card = yaml.safe_load((folder / "checkpoint.yaml").read_text())
    card.update(changes)
    (folder / "checkpoint.yaml").write_text(yaml.safe_dump({k: v for k, v in card.items() if v}))


def test_round_trip_gives_the_same_actions_and_the_same_id(folder, tmp_path):
    loaded = load_policy(folder, franka_compact())
    again = tmp_path / "again"
    identity = save_policy(again, loaded.policy, loaded.card.lineage)
    assert identity == loaded.checkpoint_id == checkpoint_id(folder)
    images = {"third_person": np.full((1, 64, 64, 3), 90, np.uint8)}
    state = np.zeros((1, 10), np.float32)
    np.testing.assert_array_equal(
        loaded.policy.infer(images, state, ["pick"]),
        load_policy(again).policy.infer(images, state, ["pick"]),
    )


def test_id_changes_with_the_weights_and_with_the_card(folder, tmp_path):
    loaded = load_policy(folder)
    other = save_policy(tmp_path / "a", loaded.policy, replace(loaded.card.lineage, step=5))
    with torch.no_grad():
        next(loaded.policy.parameters()).add_(1e-3)
    weights = save_policy(tmp_path / "b", loaded.policy, loaded.card.lineage)
    assert len({loaded.checkpoint_id, other, weights}) == 3


def test_a_failed_write_leaves_the_old_checkpoint(folder, monkeypatch):
    loaded = load_policy(folder)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rlco_trainer.checkpoint.save_file", full)
    with pytest.raises(OSError, match="space"):
        save_policy(folder, loaded.policy, loaded.card.lineage)
    assert load_policy(folder).checkpoint_id == loaded.checkpoint_id
    assert [p.name for p in folder.parent.iterdir()] == ["checkpoint"]


def test_a_kill_between_the_two_renames_is_undone(folder):
    identity = checkpoint_id(folder)
    folder.rename(folder.with_name("checkpoint.previous"))
    assert load_policy(folder).checkpoint_id == identity


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not exist.*rlco-train"):
        load_policy(tmp_path / "nothing")


def test_missing_file(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model\.safetensors"):
        load_policy(folder)


def test_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        load_policy(folder)


def test_missing_key(folder):
    edit_card(folder, normalisation=None)
    with pytest.raises(CheckpointError, match="normalisation"):
        load_policy(folder)


def test_unknown_family(folder):
    edit_card(folder, family="gpt")
    with pytest.raises(CheckpointError, match=r"'gpt' is unknown.*compact"):
        load_policy(folder)


def test_unknown_version(folder):
    edit_card(folder, format_version=99)
    with pytest.raises(CheckpointError, match="99"):
        load_policy(folder)


def test_weights_of_another_architecture(folder):
    card = yaml.safe_load((folder / "checkpoint.yaml").read_text())
    edit_card(folder, architecture={**card["architecture"], "hidden": 17})
    with pytest.raises(CheckpointError, match=r"head\.0\.weight is \(256, .*not \(17,"):
        load_policy(folder)


def test_contract_mismatch_names_the_fields(folder):
    with pytest.raises(ContractMismatchError, match="horizon"):
        load_policy(folder, franka_third_person())
