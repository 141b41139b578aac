"""Stage I starts from any family's checkpoint, and a flow's noise survives a kill."""

from __future__ import annotations

import pytest
import torch
from fakes.episodes import make_store
from fakes.small_policies import contract_of, make
from rlco_datasets.contract import ContractMismatchError, franka_third_person
from rlco_trainer.checkpoint import Lineage, load_policy, save_policy
from rlco_trainer.stage1 import Stage1Config, Stage1Run, run_stage1
from rlco_trainer.starting import starting_policy
from rlco_trainer.untrained import nominal_normalisation

FAMILIES = ["pi05-noise-chunk", "openvla"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("stores") / "real"
    make_store(path, contract_of(), (9, 8))
    return str(path)


def config_of(store: str, init: str, steps: int = 2) -> Stage1Config:
    return Stage1Config(
        init=init, real=(store,), alpha=0.0, steps=steps, batch=4, threads=1, log_every=1
    )


@pytest.fixture
def init(request, tmp_path) -> str:
    save_policy(tmp_path / "init", make(request.param), Lineage(stage="init"))
    return str(tmp_path / "init")


@pytest.mark.parametrize("init", FAMILIES, indirect=True)
def test_an_untrained_checkpoint_takes_the_demonstrations_statistics(init, store, tmp_path):
    run_stage1(config_of(store, init), tmp_path / "run")
    start, end = load_policy(init), load_policy(tmp_path / "run/checkpoint")
    assert end.card.family == start.card.family
    assert end.card.architecture == start.card.architecture
    assert end.card.lineage.parent_checkpoint == start.checkpoint_id
    assert end.card.normalisation.count == 17
    weights = start.policy.state_dict(), end.policy.state_dict()
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("init", FAMILIES[:1], indirect=True)
def test_a_trained_checkpoint_keeps_its_own(init, store, tmp_path):
    save_policy(tmp_path / "trained", make(FAMILIES[0]), Lineage(stage="stage1"))
    run = Stage1Run(config_of(store, str(tmp_path / "trained")))
    assert run.policy.normalisation == make(FAMILIES[0]).normalisation
    assert run.policy.training


@pytest.mark.parametrize("init", FAMILIES, indirect=True)
def test_a_restored_run_takes_the_same_steps(init, store):
    torch.set_num_threads(1)
    whole, first, second = (Stage1Run(config_of(store, init, 3)) for _ in range(3))
    for _ in range(3):
        whole.update()
    first.update()
    second.restore(first.state())
    for _ in range(2):
        second.update()
    expected, found = whole.policy.state_dict(), second.policy.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_another_contract_is_refused(tmp_path):
    save_policy(tmp_path / "init", make("compact"), Lineage(stage="init"))
    contract = franka_third_person()
    with pytest.raises(ContractMismatchError, match="horizon"):
        starting_policy(str(tmp_path / "init"), contract, nominal_normalisation(contract))
