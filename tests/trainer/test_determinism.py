"""Deterministic mode: on inside a run, off after it, and equal weights from equal runs."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import rlco_calibration
import torch
from fakes.episodes import make_store
from fakes.small_policies import CASES, contract_of, make
from fakes.toy_scenes import LocalPool, ToyBatch, make_policy
from rlco_datasets.contract import franka_compact
from rlco_trainer.checkpoint import Lineage, save_policy
from rlco_trainer.determinism import deterministic
from rlco_trainer.ppo import PpoConfig
from rlco_trainer.stage1 import Stage1Config, Stage1Run, run_stage1
from rlco_trainer.stage2 import run_stage2
from rlco_trainer.stage2_config import Stage2Config

BENCH = Path(rlco_calibration.__file__).parent / "bench.yaml"
WEIGHTS = "checkpoint/model.safetensors"


def test_it_holds_inside_the_block_only():
    assert not torch.are_deterministic_algorithms_enabled()
    with contextlib.suppress(KeyError), deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("case", ["compact", "pi05-noise-chunk", "openvla"])
def test_stage_1_gives_equal_weights_for_every_family(case, tmp_path, monkeypatch):
    assert case in CASES
    contract = contract_of() if case != "compact" else franka_compact()
    make_store(tmp_path / "real", contract, (12, 9))
    save_policy(tmp_path / "init", make(case, contract=contract), Lineage(stage="stage1"))
    config = Stage1Config(
        init=str(tmp_path / "init"),
        real=(str(tmp_path / "real"),),
        alpha=0.0,
        steps=4,
        batch=4,
        threads=1,
        seed=3,
        deterministic=True,
    )
    seen = []
    update = Stage1Run.update

    def noted(run):
        seen.append(torch.are_deterministic_algorithms_enabled())
        torch.rand(7)  # a caller's own draws must not matter
        return update(run)

    monkeypatch.setattr(Stage1Run, "update", noted)
    for name in ("one", "two"):
        torch.manual_seed(len(seen))
        run_stage1(config, tmp_path / name)
    run_stage1(replace(config, seed=4), tmp_path / "other")
    one, two, other = ((tmp_path / n / WEIGHTS).read_bytes() for n in ("one", "two", "other"))
    assert one == two
    assert one != other
    assert seen
    assert all(seen)


def test_stage_2_gives_equal_weights(tmp_path):
    make_store(tmp_path / "real", franka_compact(), (12, 9))
    policy = make_policy()
    policy.trunks.requires_grad_(True)
    save_policy(tmp_path / "init", policy, Lineage(stage="init"))
    config = Stage2Config(
        init=str(tmp_path / "init"),
        twin=str(BENCH),
        real=(str(tmp_path / "real"),),
        beta=0.1,
        iterations=2,
        episodes=16,
        max_steps=8,
        evaluation_episodes=4,
        augmented_copies=1,
        threads=1,
        ppo=PpoConfig(learning_rate=1e-3, minibatch=16, sft_minibatch=8),
        deterministic=True,
    )
    for name in ("one", "two"):
        torch.manual_seed(len(name))
        run_stage2(config, tmp_path / name, lambda *_: LocalPool([ToyBatch(8), ToyBatch(8)]))
    one, two = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("one", "two"))
    assert one == two
    assert not torch.are_deterministic_algorithms_enabled()
