"""Stage II of the large families, on toy scenes: the ratio starts at one and weights move."""

from __future__ import annotations

from pathlib import Path

import pytest
import rlco_calibration
import torch
from fakes.episodes import make_store
from fakes.small_policies import contract_of, make
from fakes.toy_scenes import LocalPool, ToyBatch
from rlco_trainer import cli
from rlco_trainer.checkpoint import Lineage, load_policy, save_policy
from rlco_trainer.run_folder import read_metrics

BENCH = Path(rlco_calibration.__file__).parent / "bench.yaml"


@pytest.mark.parametrize("critic", ["privileged", "features"])
@pytest.mark.parametrize("name", ["pi05-noise-chunk", "pi05-sde", "openvla"])
def test_an_iteration_goes_from_rollout_to_a_checkpoint(name, critic, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "make_pool", lambda *_, **__: LocalPool([ToyBatch(4)]))
    save_policy(tmp_path / "start", make(name), Lineage(stage="stage1"))
    make_store(tmp_path / "real", contract_of(), (6,))
    args = ["--init", str(tmp_path / "start"), "--twin", str(BENCH), "--threads", "1"]
    args += ["--real", str(tmp_path / "real"), "--beta", "0.5", "--critic", critic]
    args += ["--iterations", "1", "--episodes", "8", "--max-steps", "4", "--minibatch", "16"]
    args += ["--evaluation-episodes", "2", "--sft-minibatch", "4", "--epochs", "1"]
    cli.main(["stage2", *args, "--out", str(tmp_path / "run")])
    measured = read_metrics(tmp_path / "run")[-1]
    assert measured["ppo/first_ratio_deviation"] < 1e-3
    assert measured["gradient/real_sft"] > 0
    start, end = (load_policy(tmp_path / folder).policy for folder in ("start", "run/last"))
    moved = {
        key
        for key, value in start.state_dict().items()
        if not torch.equal(value, end.state_dict()[key])
    }
    assert moved
    assert not any("vision" in key for key in moved)
