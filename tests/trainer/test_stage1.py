"""Stage I: learns, draws alpha, and survives SIGKILL bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from fakes.episodes import make_episode, make_store
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact
from rlco_datasets.store import EpisodeStore
from rlco_trainer.checkpoint import load_policy
from rlco_trainer.cli import main
from rlco_trainer.data import DataError, open_demonstrations
from rlco_trainer.precision import DeviceError
from rlco_trainer.run_folder import RunError, claim, read_metrics
from rlco_trainer.stage1 import Stage1Config, Stage1Run, learning_rate, run_stage1
from rlco_trainer.training_state import load_state, save_state

WEIGHTS = "checkpoint/model.safetensors"


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("stores")
    make_store(folder / "real", franka_compact(), (12, 9))
    make_store(folder / "sim", franka_compact(), (14, 11, 8), seed=50, source="sim")
    return str(folder / "real"), str(folder / "sim")


def config_of(stores: tuple[str, str], **changes) -> Stage1Config:
    real, sim = stores
    config = Stage1Config(real=(real,), sim=(sim,), steps=30, batch=16, threads=1, log_every=5)
    return replace(config, **changes)


def test_fits_its_demonstrations(stores, tmp_path):
    config = config_of(stores, steps=80, gain=0.0, shift_px=0, warmup_steps=5, learning_rate=2e-3)
    run_stage1(config, tmp_path)
    rows = read_metrics(tmp_path)
    assert rows[-1]["step"] == 80
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    card = load_policy(tmp_path / "checkpoint").card
    assert card.lineage.stage == "stage1"
    assert [line.split(":")[0] for line in card.lineage.stores] == ["real", "sim"]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
def test_the_drawn_share_of_sim_is_alpha(stores, alpha):
    mixture = open_demonstrations([stores[0]], [stores[1]]).mixture(alpha, seed=1)
    n, sim = 0, 0
    for _ in range(40):
        _, counts = mixture.next(100)
        n += sum(counts.values())
        sim += sum(count for label, count in counts.items() if label.startswith("sim"))
    assert n == 4000
    assert sim / n == pytest.approx(alpha, abs=4 * (alpha * (1 - alpha) / n) ** 0.5)


def shares(mixture, label_part):
    counts = [0, 0]
    for _ in range(40):
        for label, count in mixture.next(100)[1].items():
            counts[0] += count
            counts[1] += count * (label_part in label)
    return counts[1] / counts[0]


def test_tasks_are_drawn_alike_where_asked(tmp_path):
    for name, task, lengths in (("a", "pick", (30, 30, 30)), ("b", "push", (10,))):
        make_store(tmp_path / name, franka_compact(), lengths, task=task)
    demos = open_demonstrations([str(tmp_path / "a"), str(tmp_path / "b")], [])
    assert shares(demos.mixture(0.0, seed=1), "push") == pytest.approx(0.1, abs=0.03)
    by_task = demos.mixture(0.0, seed=1, balance="tasks")
    assert shares(by_task, "push") == pytest.approx(0.5, abs=0.04)
    weighted = demos.mixture(0.0, seed=1, weights={"real": (1.0, 9.0)})
    assert shares(weighted, "push") == pytest.approx(0.5, abs=0.04)
    with pytest.raises(DataError, match="1 numbers for 2 real stores"):
        demos.mixture(0.0, seed=1, weights={"real": (1.0,)})


def test_failures_are_not_imitated(tmp_path):
    contract = franka_compact()
    make_store(tmp_path / "mixed", contract, (12,))
    with EpisodeStore.open(tmp_path / "mixed", "a") as store:
        store.append(make_episode(contract, 20, 5, outcome="failure"))
    demos = open_demonstrations([str(tmp_path / "mixed")], [])
    assert [len(part.source) for part in demos.parts] == [12]
    make_store(tmp_path / "failed", contract, (12,), outcome="failure")
    with pytest.raises(DataError, match="no complete and successful episode"):
        open_demonstrations([str(tmp_path / "failed")], [])


def test_a_limit_takes_the_first_real_episodes_of_each_task_and_their_statistics(stores):
    limited = open_demonstrations([stores[0]], [stores[1]], real_limit=1)
    assert [(part.kind, part.source.episodes) for part in limited.parts] == [
        ("real", (0,)),
        ("sim", (0, 1, 2)),
    ]
    assert limited.normalisation.count == 12 + 33
    assert "(1 episodes)" in limited.description[0]


def test_held_out_episodes_are_measured_and_never_drawn(stores, tmp_path):
    demos = open_demonstrations([stores[0]], [stores[1]], held_out=0.5)
    assert [len(part.source) for part in demos.held_out] == [9]
    assert [(part.kind, len(part.source)) for part in demos.parts] == [("real", 12), ("sim", 33)]
    run_stage1(config_of(stores, held_out=0.5), tmp_path)
    assert read_metrics(tmp_path)[-1]["held_out_loss"] > 0
    make_store(tmp_path / "one", franka_compact(), (12,))
    with pytest.raises(DataError, match="leaves none to train on"):
        open_demonstrations([str(tmp_path / "one")], [], held_out=0.1)


def test_accumulated_passes_make_the_gradient_of_one_large_batch(stores):
    config = config_of(stores, gain=0.0, shift_px=0, batch=8)
    split, whole = Stage1Run(config), Stage1Run(config)
    # The loss is a mean over unmasked steps: the two agree where every step counts alike.
    first, second = (
        (features, actions, torch.ones_like(mask))
        for features, actions, mask in (split.draw(), split.draw())
    )
    features = {name: torch.cat([value, second[0][name]]) for name, value in first[0].items()}
    rest = (torch.cat(pair) for pair in zip(first[1:], second[1:], strict=True))
    split.descend([first, second])
    whole.descend([(features, *rest)])
    for name, value in whole.policy.state_dict().items():
        torch.testing.assert_close(split.policy.state_dict()[name], value, atol=2e-6, rtol=1e-4)


def test_half_precision_learns_too(stores, tmp_path):
    run_stage1(config_of(stores, precision="bf16", steps=40, learning_rate=2e-3), tmp_path)
    rows = read_metrics(tmp_path)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert load_policy(tmp_path / "checkpoint").policy.head[0].weight.dtype == torch.float32


def test_a_device_that_is_not_there_is_refused(stores, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no GPU"):
        Stage1Run(config_of(stores, device="cuda"))
    with pytest.raises(DeviceError, match="Use cpu"):
        Stage1Run(config_of(stores, device="warp-drive"))


def test_the_realised_alpha_is_logged(stores, tmp_path):
    run_stage1(config_of(stores, alpha=0.25, steps=20), tmp_path)
    assert read_metrics(tmp_path)[-1]["alpha_realised"] == pytest.approx(0.25, abs=0.1)


def test_real_only_needs_no_sim(stores, tmp_path):
    run_stage1(config_of(stores, sim=(), alpha=0.0, steps=3), tmp_path)
    assert read_metrics(tmp_path)[-1]["alpha_realised"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"sim": ()}, "no --sim"), ({"real": ()}, "no --real"), ({"sim": (), "real": ()}, "no store")],
)
def test_missing_data_is_named(stores, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        run_stage1(config_of(stores, **changes), tmp_path)


def test_learning_rate_warms_up_and_ends_near_zero():
    config = Stage1Config(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[-1] < 0.01


def test_the_average_of_the_weights_is_saved(stores, tmp_path):
    run_stage1(config_of(stores, steps=5), tmp_path / "last")
    run_stage1(config_of(stores, steps=5, ema_decay=0.9), tmp_path / "average")
    last, average = (load_policy(tmp_path / n / "checkpoint").policy for n in ("last", "average"))
    assert not torch.equal(next(last.parameters()), next(average.parameters()))


def test_another_configuration_in_the_same_folder_is_refused(stores, tmp_path):
    run_stage1(config_of(stores, steps=2), tmp_path)
    with pytest.raises(RunError, match="steps: 2 -> 3"):
        run_stage1(config_of(stores, steps=3), tmp_path)


def test_a_folder_with_other_files_is_refused(stores, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not empty"):
        run_stage1(config_of(stores), tmp_path)


def start(stores: tuple[str, str], out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from rlco_trainer.cli import main; main()", "stage1"]
    command += ["--real", stores[0], "--sim", stores[1], "--out", str(out), "--threads", "1"]
    command += ["--steps", "120", "--batch", "8", "--state-every", "7", "--log-every", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def kill_after_step(process: subprocess.Popen[bytes], out: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    metrics = out / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < step:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_bits(stores, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(stores, whole)
    assert process.wait() == 0, process.communicate()
    for step in (17, 60):
        kill_after_step(start(stores, killed), killed, step)
        assert not (killed / "checkpoint").exists()
    process = start(stores, killed)
    assert process.wait() == 0, process.communicate()
    assert (killed / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    rows = [read_metrics(out) for out in (killed, whole)]
    assert [row["step"] for row in rows[0]] == list(range(1, 121))
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def test_moments_of_8_bits_are_used_and_go_on_bit_for_bit(stores, tmp_path):
    config = config_of(stores, steps=6, moments="8bit")
    whole, first = Stage1Run(config), Stage1Run(config)
    for _ in range(6):
        whole.update()
    for _ in range(3):
        first.update()
    save_state(tmp_path, first.state())
    again, saved = Stage1Run(config), load_state(tmp_path)
    assert saved is not None
    again.restore(saved)
    for _ in range(3):
        again.update()
    ends = [run.state().tensors for run in (whole, again)]
    assert torch.uint8 in {t.dtype for name, t in ends[0].items() if name.startswith("optimizer/")}
    assert ends[0].keys() == ends[1].keys()
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name


def test_moments_in_the_hosts_memory_learn_the_same_bit_for_bit(stores):
    ends = []
    for moments in ("fp32", "cpu"):
        run = Stage1Run(config_of(stores, steps=4, moments=moments))
        for _ in range(4):
            run.update()
        ends.append(run.state().tensors)
    assert ends[0].keys() == ends[1].keys()
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name


def test_a_run_from_before_an_option_is_gone_on_with(stores, tmp_path):
    config = config_of(stores)
    plain = spec.to_plain(config)
    del plain["moments"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    claim(tmp_path, config)
    with pytest.raises(RunError, match="moments"):
        claim(tmp_path, replace(config, moments="8bit"))


class TestCommandLine:
    def fails(self, capsys, *args: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(args))
        assert stop.value.code == 2
        message = capsys.readouterr().err.strip()
        assert len(message.splitlines()) == 1
        return message

    def test_a_run_can_be_repeated_from_its_config(self, stores, tmp_path, capsys):
        run_stage1(config_of(stores, steps=4), tmp_path / "one")
        config = str(tmp_path / "one/config.yaml")
        main(["stage1", "--config", config, "--out", str(tmp_path / "two")])
        assert (tmp_path / "one" / WEIGHTS).read_bytes() == (
            tmp_path / "two" / WEIGHTS
        ).read_bytes()

    def test_missing_store(self, tmp_path, capsys):
        message = self.fails(
            capsys, "stage1", "--real", str(tmp_path / "none"), "--out", str(tmp_path / "run")
        )
        assert str(tmp_path / "none") in message

    def test_damaged_store(self, stores, tmp_path, capsys):
        path = tmp_path / "cut"
        store = make_store(path, franka_compact(), (9,))
        (store.path / "data" / "state" / ".zarray").write_text("{")
        message = self.fails(
            capsys, "stage1", "--real", str(path), "--alpha", "0", "--out", str(tmp_path / "run")
        )
        assert "cut" in message

    def test_value_out_of_range(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["stage1", "--alpha", "1.5", "--out", str(tmp_path / "run")])
        assert stop.value.code == 2
        assert "alpha 1.5" in capsys.readouterr().err

    def test_malformed_config(self, tmp_path, capsys):
        (tmp_path / "bad.yaml").write_text("alhpa: 1\n")
        message = self.fails(
            capsys, "stage1", "--config", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "run")
        )
        assert "alhpa" in message

    def test_disk_full(self, stores, tmp_path, capsys, monkeypatch):
        def full(*args: object) -> None:
            raise OSError(28, "No space left on device", "state.safetensors")

        monkeypatch.setattr("rlco_trainer.stage1.save_state", full)
        with pytest.raises(SystemExit) as stop:
            main(
                [
                    "stage1",
                    "--real",
                    stores[0],
                    "--alpha",
                    "0",
                    "--steps",
                    "1",
                    "--out",
                    str(tmp_path / "run"),
                ]
            )
        assert stop.value.code == 2
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert "no space left" in message
        assert "same command again" in message
