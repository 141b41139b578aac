"""`rlco-train`: each command's happy path and one clean line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rlco_calibration
import yaml
from fakes.episodes import make_store
from fakes.toy_scenes import LocalPool, ToyBatch
from rlco_calibration.twin import load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_trainer import cli, eval_command
from rlco_trainer.checkpoint import load_policy
from rlco_trainer.conditions import draw
from rlco_trainer.untrained import write_untrained

BENCH = Path(rlco_calibration.__file__).parent / "bench.yaml"


@pytest.fixture
def checkpoint(tmp_path) -> str:
    write_untrained("compact", franka_compact(), tmp_path / "checkpoint", 0)
    return str(tmp_path / "checkpoint")


@pytest.fixture(autouse=True)
def _toy_pool(monkeypatch):
    for module in (cli, eval_command):
        monkeypatch.setattr(module, "make_pool", lambda *_, **__: LocalPool([ToyBatch(4)]))


def fails(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(args))
    assert stop.value.code == 2
    message: str = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("rlco-train: error: ")
    return message


def test_init_writes_a_checkpoint_that_loads(tmp_path, capsys):
    out = tmp_path / "random"
    cli.main(["init", "--preset", "compact", "--contract", "franka_compact", "--out", str(out)])
    assert load_policy(out, franka_compact()).checkpoint_id in capsys.readouterr().out


@pytest.mark.parametrize(("flag", "value"), [("--preset", "huge"), ("--contract", "nope")])
def test_init_names_what_it_does_not_know(tmp_path, capsys, flag, value):
    assert value in fails(capsys, "init", flag, value, "--out", str(tmp_path / "random"))


def test_eval_prints_the_rate_and_writes_every_outcome(checkpoint, tmp_path, capsys):
    out = tmp_path / "evaluation"
    args = ["--checkpoint", checkpoint, "--twin", str(BENCH), "--episodes", "5", "--out", str(out)]
    cli.main(["eval", *args, "--max-steps", "4"])
    assert "of 5 solved" in capsys.readouterr().out
    written = json.loads((out / "pick_and_place.json").read_text())
    assert len(written["outcomes"]) == 5
    assert written["checkpoint_id"] == load_policy(checkpoint).checkpoint_id
    assert written["low"] <= written["success_rate"] <= written["high"]


def test_eval_of_several_tasks_starts_workers_once_and_says_what_each_alone_would(
    checkpoint, tmp_path, capsys, monkeypatch
):
    pools = []

    def pool(*_: object, **__: object) -> LocalPool:
        pools.append(LocalPool([ToyBatch(2), ToyBatch(2)]))
        return pools[-1]

    monkeypatch.setattr(eval_command, "make_pool", pool)
    args = ["eval", "--checkpoint", checkpoint, "--twin", str(BENCH), "--episodes", "5"]
    args += ["--max-steps", "4"]
    tasks = ["push_cube", "open_drawer"]
    for task in tasks:
        cli.main([*args, "--tasks", task, "--out", str(tmp_path / "alone")])
    filmed = ["--videos", str(tmp_path / "videos"), "--video-count", "1"]
    cli.main([*args, "--tasks", *tasks, "--out", str(tmp_path / "both"), *filmed])
    assert len(pools) == 3
    assert all(pool.closed for pool in pools)
    assert set(pools[2].batches[0].tasks) == set(tasks)
    for task in tasks:
        alone, both = (tmp_path / name / f"{task}.json" for name in ("alone", "both"))
        assert json.loads(both.read_text())["task"] == task
        assert both.read_bytes() == alone.read_bytes()
        assert len(list((tmp_path / "videos" / task).glob("*.mp4"))) == 1
    assert capsys.readouterr().out.count("of 5 solved") == 4


def test_eval_takes_files_of_conditions(checkpoint, tmp_path, capsys):
    twin, paths = load_twin(BENCH), []
    for task, count in (("pick_and_place", 3), ("push_cube", 2)):
        conditions = draw(twin, task, count, purpose="test", seed=9)
        paths.append(tmp_path / f"{task}.yaml")
        paths[-1].write_text(yaml.safe_dump({"conditions": [spec.to_plain(c) for c in conditions]}))
    args = ["--checkpoint", checkpoint, "--twin", str(BENCH), "--max-steps", "4"]
    args += ["--tasks", "pick_and_place", "push_cube", "--conditions"]
    cli.main(["eval", *args, *map(str, paths)])
    told = capsys.readouterr().out
    assert "of 3 solved" in told
    assert "of 2 solved" in told
    assert "push_cube" in fails(capsys, "eval", *args, str(paths[0]))


def test_eval_refuses_a_task_named_twice(checkpoint, capsys):
    args = ["--checkpoint", checkpoint, "--twin", str(BENCH), "--tasks", "push_cube", "push_cube"]
    assert "each once" in fails(capsys, "eval", *args)


def test_eval_refuses_a_missing_checkpoint(tmp_path, capsys):
    missing = str(tmp_path / "none")
    assert missing in fails(capsys, "eval", "--checkpoint", missing, "--twin", str(BENCH))


def test_eval_refuses_a_hidden_twin(checkpoint, tmp_path, capsys):
    hidden = tmp_path / "hidden.yaml"
    hidden.write_text(yaml.safe_dump({**yaml.safe_load(BENCH.read_text()), "hidden": True}))
    assert "hidden" in fails(capsys, "eval", "--checkpoint", checkpoint, "--twin", str(hidden))


def test_eval_refuses_an_unknown_task(checkpoint, capsys):
    args = ["--checkpoint", checkpoint, "--twin", str(BENCH), "--tasks", "juggle"]
    assert "juggle" in fails(capsys, "eval", *args)


def test_a_twin_of_another_contract_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    write_untrained("compact", franka_third_person(), tmp_path / "big", 0)
    args = ["--checkpoint", str(tmp_path / "big"), "--twin", str(BENCH), "--workers", "1"]
    assert "franka_third_person" in fails(capsys, "eval", *args)


def test_demos_refuse_an_unknown_task(tmp_path, capsys):
    args = ["--twin", str(BENCH), "--task", "juggle", "--out", str(tmp_path / "store")]
    assert "juggle" in fails(capsys, "demos", *args)
    assert not (tmp_path / "store").exists()


def test_stage2_runs_and_can_be_repeated_from_its_config(checkpoint, tmp_path, capsys):
    make_store(tmp_path / "real", franka_compact(), (6,))
    args = ["--init", checkpoint, "--twin", str(BENCH), "--real", str(tmp_path / "real")]
    args += ["--iterations", "1", "--episodes", "8", "--max-steps", "4", "--threads", "1"]
    args += ["--evaluation-episodes", "2", "--minibatch", "16"]
    cli.main(["stage2", *args, "--out", str(tmp_path / "one")])
    config = str(tmp_path / "one/config.yaml")
    cli.main(["stage2", "--config", config, "--out", str(tmp_path / "two")])
    one, two = (tmp_path / name / "last/model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert load_policy(tmp_path / "one/checkpoint").checkpoint_id in capsys.readouterr().out


def test_stage2_names_a_missing_checkpoint(tmp_path, capsys):
    args = ["--init", str(tmp_path / "none"), "--twin", str(BENCH), "--beta", "0"]
    assert "does not exist" in fails(capsys, "stage2", *args, "--out", str(tmp_path / "run"))


def test_ctrl_c_is_one_line(checkpoint, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(eval_command, "make_pool", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main(["eval", "--checkpoint", checkpoint, "--twin", str(BENCH)])
    assert stop.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "demos", "stage1", "stage2", "eval"])
def test_help_says_what_goes_in_and_out_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "In:" in text
    assert "Out:" in text
    assert f"Example: rlco-train {command}" in text
