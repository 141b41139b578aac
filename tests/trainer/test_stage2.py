"""Stage II as a whole, on scenes without physics: learns, keeps the best, goes on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rlco_calibration
import torch
import yaml
from fakes.episodes import make_store
from fakes.toy_scenes import LocalPool, ToyBatch, make_policy
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration.twin import TwinError
from rlco_datasets.contract import ContractMismatchError, franka_compact, franka_third_person
from rlco_trainer.checkpoint import CheckpointError, Lineage, load_policy, save_policy
from rlco_trainer.conditions import draw, narrowed, read_conditions
from rlco_trainer.ppo import PpoConfig
from rlco_trainer.run_folder import RunError, read_metrics
from rlco_trainer.stage2 import run_stage2
from rlco_trainer.stage2_config import Stage2Config, deal
from rlco_trainer.untrained import write_untrained

BENCH = Path(rlco_calibration.__file__).parent / "bench.yaml"
WEIGHTS = "checkpoint/model.safetensors"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Stage2Config:
    folder = tmp_path_factory.mktemp("stage2")
    make_store(folder / "real", franka_compact(), (12, 9))
    policy = make_policy()
    policy.trunks.requires_grad_(True)
    save_policy(folder / "init", policy, Lineage(stage="init"))
    return Stage2Config(
        init=str(folder / "init"),
        twin=str(BENCH),
        real=(str(folder / "real"),),
        beta=0.1,
        iterations=6,
        episodes=48,
        max_steps=8,
        evaluate_every=2,
        evaluation_episodes=6,
        augmented_copies=1,
        threads=1,
        ppo=PpoConfig(learning_rate=1e-3, minibatch=48, sft_minibatch=8),
    )


def make_pool(*_: object) -> LocalPool:
    return LocalPool([ToyBatch(8), ToyBatch(8)])


class DyingPool(LocalPool):
    """Ends with an error after some calls, as a killed run would."""

    def __init__(self, calls: int) -> None:
        super().__init__([ToyBatch(8), ToyBatch(8)])
        self.remaining = calls

    def map(self, function, arguments):
        if self.remaining == 0:
            raise KeyboardInterrupt
        self.remaining -= 1
        return super().map(function, arguments)


def test_learns_and_writes_a_complete_run_folder(inputs, tmp_path):
    identity = run_stage2(replace(inputs, beta=0.0, real=(), iterations=12), tmp_path, make_pool)
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(13))
    assert rows[0]["validation/success"] == 0
    assert rows[-1]["rollout/success"] > 2 * rows[1]["rollout/success"]
    assert rows[-1]["rollout/episodes"] == 576
    names = {path.name for path in tmp_path.iterdir()}
    wanted = "config.yaml metrics.jsonl run.json tensorboard state checkpoint best last"
    assert names == set(wanted.split())
    loaded = load_policy(tmp_path / "checkpoint", franka_compact())
    assert loaded.checkpoint_id == identity
    assert loaded.card.lineage.parent_checkpoint == load_policy(inputs.init).checkpoint_id
    assert loaded.card.lineage.task == "pick_and_place"


def test_the_final_checkpoint_is_the_stated_one(inputs, tmp_path):
    run_stage2(inputs, tmp_path / "a", make_pool)
    run_stage2(replace(inputs, final="last"), tmp_path / "b", make_pool)
    for run, name in (("a", "best"), ("b", "last")):
        final = (tmp_path / run / WEIGHTS).read_bytes()
        assert final == (tmp_path / run / name / "model.safetensors").read_bytes()
    assert load_policy(tmp_path / "b/checkpoint").card.lineage.step == 6
    best = load_policy(tmp_path / "a/best").card
    rates = {row["step"]: row.get("validation/success") for row in read_metrics(tmp_path / "a")}
    assert best.metrics["validation_success"] == max(r for r in rates.values() if r is not None)
    assert rates[best.lineage.step] == best.metrics["validation_success"]


def test_a_killed_run_ends_with_the_same_bits(inputs, tmp_path):
    run_stage2(inputs, tmp_path / "whole", make_pool)
    for calls in (4, 3):
        with pytest.raises(KeyboardInterrupt):
            run_stage2(inputs, tmp_path / "killed", lambda *_, n=calls: DyingPool(n))
        assert not (tmp_path / "killed/checkpoint").exists()
    run_stage2(inputs, tmp_path / "killed", make_pool)
    for name in ("best", "last"):
        weights = f"{name}/model.safetensors"
        assert (tmp_path / "killed" / weights).read_bytes() == (
            tmp_path / "whole" / weights
        ).read_bytes()
    steps = [row["step"] for row in read_metrics(tmp_path / "killed")]
    assert steps == list(range(7))


def test_beta_changes_what_is_learnt_and_its_share_is_logged(inputs, tmp_path):
    run_stage2(replace(inputs, iterations=1), tmp_path / "with", make_pool)
    run_stage2(replace(inputs, iterations=1, beta=0.0), tmp_path / "without", make_pool)
    last = [load_policy(tmp_path / name / "last").policy for name in ("with", "without")]
    assert not torch.equal(*(policy.head[0].weight for policy in last))
    rows = [read_metrics(tmp_path / name)[-1] for name in ("with", "without")]
    assert rows[0]["gradient/beta_sft_over_rl"] > 0
    assert rows[1]["gradient/beta_sft_over_rl"] == 0


def test_the_trunk_is_trained_only_if_asked(inputs, tmp_path):
    before = load_policy(inputs.init).policy.state_dict()
    name = "trunks.third_person.convolutions.0.weight"
    run_stage2(replace(inputs, iterations=1), tmp_path / "frozen", make_pool)
    small = replace(inputs, iterations=1, episodes=16, train_trunk=True)
    run_stage2(small, tmp_path / "trained", make_pool)
    frozen, trained = (
        load_policy(tmp_path / run / "last").policy.state_dict()[name]
        for run in ("frozen", "trained")
    )
    assert torch.equal(frozen, before[name])
    assert not torch.equal(trained, before[name])


def test_sim_demonstrations_can_join(inputs, tmp_path):
    config = replace(inputs, iterations=1, sim=inputs.real, sim_beta=0.2)
    run_stage2(config, tmp_path, make_pool)
    assert len(load_policy(tmp_path / "last").card.lineage.stores) == 2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"init": "/none/checkpoint"}, CheckpointError, "does not exist"),
        ({"tasks": ("juggle",)}, TwinError, "juggle"),
    ],
)
def test_bad_inputs_are_named_before_the_folder_is_claimed(
    inputs, tmp_path, changes, error, message
):
    with pytest.raises(error, match=message):
        run_stage2(replace(inputs, **changes), tmp_path / "run", make_pool)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_contract_is_refused(inputs, tmp_path):
    write_untrained("compact", franka_third_person(), tmp_path / "big", 0)
    with pytest.raises(ContractMismatchError, match="franka_third_person"):
        run_stage2(replace(inputs, init=str(tmp_path / "big")), tmp_path / "run", make_pool)


def test_real_demonstrations_of_another_contract_are_refused(inputs, tmp_path):
    make_store(tmp_path / "other", replace(franka_compact(), control_rate_hz=5.0), (5,))
    with pytest.raises(ContractMismatchError, match="control_rate_hz"):
        run_stage2(replace(inputs, real=(str(tmp_path / "other"),)), tmp_path / "run", make_pool)


def test_a_hidden_twin_is_refused(inputs, tmp_path):
    data = yaml.safe_load(BENCH.read_text())
    hidden = tmp_path / "hidden.yaml"
    hidden.write_text(yaml.safe_dump({**data, "hidden": True}))
    with pytest.raises(TwinError, match="hidden"):
        run_stage2(replace(inputs, twin=str(hidden)), tmp_path / "run", make_pool)


def test_beta_without_demonstrations_is_refused(inputs):
    with pytest.raises(ValueError, match=r"beta 0\.1 asks for real"):
        replace(inputs, real=())


def test_another_configuration_in_the_same_folder_is_refused(inputs, tmp_path):
    run_stage2(replace(inputs, iterations=1), tmp_path, make_pool)
    with pytest.raises(RunError, match="beta"):
        run_stage2(replace(inputs, iterations=1, beta=0.2), tmp_path, make_pool)


def test_tasks_are_learnt_together_and_reported_apart(inputs, tmp_path):
    both = replace(inputs, tasks=("pick_and_place", "push_cube"), iterations=2)
    run_stage2(both, tmp_path, make_pool)
    last = read_metrics(tmp_path)[-1]
    for task in both.tasks:
        assert 0 <= last[f"rollout/success/{task}"] <= 1
        assert 0 <= last[f"validation/success/{task}"] <= 1
        assert np.isfinite(last[f"critic/loss/{task}"])
    card = load_policy(tmp_path / "last").card
    assert card.lineage.task == "pick_and_place push_cube"


@pytest.mark.parametrize(
    "changes",
    [
        {"estimator": "group", "group": 6},
        {"critic": "features", "ppo": PpoConfig(value_clip=0.2, minibatch=48, sft_minibatch=8)},
        {"precision": "bf16"},
        {"moments": "8bit"},
        {"curriculum_start": 0.2, "curriculum_iterations": 2},
        {"shaping": 0.3},
        {"beta_ratio": 0.1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_option_runs_and_goes_on_bit_for_bit(inputs, tmp_path, changes):
    config = replace(inputs, iterations=3, **changes)
    run_stage2(config, tmp_path / "whole", make_pool)
    with pytest.raises(KeyboardInterrupt):
        run_stage2(config, tmp_path / "killed", lambda *_: DyingPool(3))
    run_stage2(config, tmp_path / "killed", make_pool)
    whole, killed = ((tmp_path / n / WEIGHTS).read_bytes() for n in ("whole", "killed"))
    assert whole == killed


def test_an_adapted_beta_moves_towards_its_ratio(inputs, tmp_path):
    run_stage2(replace(inputs, beta=1e-4, beta_ratio=0.2, iterations=3), tmp_path, make_pool)
    rows = [row for row in read_metrics(tmp_path) if "beta" in row]
    betas = np.array([row["beta"] for row in rows])
    ratios = np.array([row["gradient/beta_sft_over_rl"] for row in rows])
    assert betas[0] == 1e-4
    np.testing.assert_allclose(betas[1:] / betas[:-1], np.sqrt(0.2 / ratios[:-1]), rtol=1e-4)


def test_the_run_ends_when_the_held_out_loss_does_not_fall(inputs, tmp_path):
    config = replace(inputs, held_out=0.5, patience=1, evaluate_every=1, iterations=50)
    config = replace(config, ppo=replace(inputs.ppo, learning_rate=0.02))
    run_stage2(config, tmp_path, make_pool)
    losses = [row["validation/held_out_loss"] for row in read_metrics(tmp_path)]
    assert losses[-1] >= min(losses[:-1])
    assert len(losses) < 51
    assert json.loads((tmp_path / "run.json").read_text())["stopped_early"]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.integers(1, 8),
    st.integers(0, 300),
)
def test_episodes_are_dealt_out_in_full_and_every_task_gets_some(rates, multiple, spare):
    success = {str(i): rate for i, rate in enumerate(rates)}
    episodes = len(rates) * multiple + spare
    counts = deal(episodes, success, multiple=multiple)
    assert sum(counts.values()) == episodes - episodes % multiple
    assert all(count > 0 and count % multiple == 0 for count in counts.values())


def test_undecided_tasks_get_more_episodes():
    counts = deal(100, {"even": 0.5, "solved": 1.0, "hopeless": 0.0})
    assert counts["even"] > 2 * counts["solved"]
    assert counts["solved"] == counts["hopeless"]
    with pytest.raises(ValueError, match="too few for 2 tasks"):
        deal(15, {"a": 0.5, "b": 0.5}, multiple=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ()}, "each once"),
        ({"tasks": ("a", "a")}, "each once"),
        ({"estimator": "group", "episodes": 4}, "too few"),
        ({"beta": 0.0, "beta_ratio": 0.1}, "no effect while beta is 0"),
        ({"patience": 2}, "no effect while held_out is 0"),
        ({"curriculum_start": 0.0}, "curriculum_start"),
    ],
)
def test_impossible_configurations_are_refused(inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(inputs, **changes)


class TestConditions:
    def test_purposes_and_rounds_never_meet(self):
        from rlco_calibration.twin import load_twin

        twin = load_twin(BENCH)
        seen = [
            draw(twin, "pick_and_place", 5, purpose=purpose, seed=0, round_=round_)
            for purpose in ("train", "validation", "test")
            for round_ in (0, 1)
        ]
        poses = {condition.objects for conditions in seen for condition in conditions}
        assert len(poses) == 30
        assert draw(twin, "pick_and_place", 5, purpose="train", seed=0) == seen[0]

    def test_a_narrowed_twin_starts_nearer_the_middle(self):
        from rlco_calibration.twin import load_twin

        twin = load_twin(BENCH)
        narrow = narrowed(twin, "pick_and_place", 0.25)
        for placement in narrow.task("pick_and_place").placements:
            whole = next(
                p for p in twin.task("pick_and_place").placements if p.name == placement.name
            )
            width, full = np.diff(placement.x_m)[0], np.diff(whole.x_m)[0]
            assert width == pytest.approx(0.25 * full)
            assert sum(placement.x_m) == pytest.approx(sum(whole.x_m))
        assert narrow.task("push_cube") == twin.task("push_cube")

    def test_a_file_round_trips_and_other_tasks_are_left_out(self, tmp_path):
        from rlco_calibration.twin import load_twin
        from rlco_datasets import spec

        twin = load_twin(BENCH)
        conditions = [
            *draw(twin, "pick_and_place", 2, purpose="test", seed=0),
            *draw(twin, "push_cube", 1, purpose="test", seed=0),
        ]
        path = tmp_path / "conditions.yaml"
        path.write_text(yaml.safe_dump({"conditions": [spec.to_plain(c) for c in conditions]}))
        assert read_conditions([path], "pick_and_place") == tuple(conditions[:2])
        with pytest.raises(spec.SpecError, match="open_drawer"):
            read_conditions([path], "open_drawer")
        with pytest.raises(spec.SpecError, match="no YAML file"):
            read_conditions([path, tmp_path / "none.yaml"], "push_cube")
