"""`rlco-serve` end to end: real checkpoints, a real process, real HTTP."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from fakes.policies import CountingPolicy, running_server, started_gateway
from fakes.processes import server_process
from rlco_datasets.contract import Contract
from rlco_datasets.images import policy_image
from rlco_policy_server import cli, example_request
from rlco_policy_server.client import PolicyClient
from rlco_policy_server.wire import v1
from rlco_trainer.checkpoint import load_policy
from rlco_trainer.untrained import write_untrained

SERVE = ("-m", "rlco_policy_server.cli")


@pytest.fixture
def checkpoints(tmp_path: Path, contract: Contract) -> dict[str, str]:
    """Make two random checkpoints; return their folders and ids."""
    return {
        str(tmp_path / f"checkpoint{seed}"): write_untrained(
            "compact", contract, tmp_path / f"checkpoint{seed}", seed
        )
        for seed in range(2)
    }


def test_served_actions_are_the_checkpoints_own(
    checkpoints: dict[str, str], contract: Contract, tmp_path: Path
) -> None:
    frame = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)
    state = np.linspace(0, 1, 10, dtype=np.float32)
    images = {"third_person": policy_image(frame, contract.cameras[0])[None]}
    (path_a, id_a), (path_b, id_b) = checkpoints.items()
    ready = tmp_path / "ready.json"
    options = ["--checkpoint", f"A={path_a}", "--checkpoint", f"B={path_b}", "--port", "0"]
    with server_process(*SERVE, *options, "--ready-file", str(ready), ready_file=ready) as running:
        url, process = running
        with PolicyClient(url, contract, timeout_s=180) as client:
            for step, (alias, path, policy_id) in enumerate(
                [("A", path_a, id_a), ("B", path_b, id_b), ("A", path_a, id_a)]
            ):
                reply = client.infer(
                    images={"third_person": frame},
                    state=state,
                    instruction="put the cube in the bowl",
                    session="s",
                    step=step,
                    stamp_ns=0,
                    policy=alias,
                )
                direct = load_policy(path).policy.infer(
                    images, state[None], ["put the cube in the bowl"]
                )
                np.testing.assert_allclose(reply.actions, direct[0], atol=1e-6)
                assert reply.policy_id == policy_id
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=180)
        assert process.returncode == 0
        assert "Warning" not in log


def refusal(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run the command in this process; return the one line that it leaves."""
    monkeypatch.setattr(cli, "exit_cleanly_on_signals", lambda: None)
    monkeypatch.setattr(cli, "log_as_json", lambda level: None)  # it would outlive the test
    monkeypatch.setattr(sys, "argv", ["rlco-serve", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


def test_a_missing_checkpoint_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refusal(["--checkpoint", str(tmp_path / "nowhere")], monkeypatch, capsys)
    assert "nowhere" in text
    assert "rlco-train" in text


def test_a_damaged_checkpoint_is_one_line_and_exit_2(
    checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next(iter(checkpoints))
    weights = Path(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in refusal(["--checkpoint", folder], monkeypatch, capsys)


def test_a_refused_host_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(tmp_path), "--host", "0.0.0.0"]
    assert "--keys" in refusal(arguments, monkeypatch, capsys)


def test_the_example_request_is_answered(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tmp_path / "request.msgpack"
    monkeypatch.setattr(sys, "argv", ["example_request", "--out", str(body)])
    example_request.main()
    with started_gateway(CountingPolicy(contract)) as gateway, running_server(gateway) as url:
        response = httpx.post(
            f"{url}/v1/infer",
            content=body.read_bytes(),
            headers={"Content-Type": "application/msgpack"},
        )
    assert response.status_code == 200
    assert v1.decode_reply(response.content).actions.shape == (contract.horizon, 7)
