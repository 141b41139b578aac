"""`rlco-serve` with everything a lab network needs: keys, TLS, a model store, audit, record."""

from __future__ import annotations

import json
import signal
import ssl
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import trustme
from fakes.processes import server_process
from rlco_datasets.contract import Contract
from rlco_datasets.store import EpisodeStore
from rlco_policy_server import cli
from rlco_policy_server.client import PolicyClient, PolicyServerError
from rlco_trainer.untrained import write_untrained

SERVE = ("-m", "rlco_policy_server.cli")


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> str:
    """Run a subcommand in this process; return what it printed."""
    monkeypatch.setattr(cli, "log_as_json", lambda level: None)  # it would outlive the test
    monkeypatch.setattr(sys, "argv", ["rlco-serve", *map(str, arguments)])
    cli.main()
    return capsys.readouterr().out.strip()


def test_a_guarded_server_from_key_to_audit(
    tmp_path: Path,
    contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys, models = tmp_path / "keys.yaml", tmp_path / "models"
    robot, ada = (
        command(monkeypatch, capsys, "key", "--keys", keys, "--name", name, "--role", role)
        for name, role in (("bench-1", "infer"), ("ada", "operate"))
    )
    ids = []
    for seed in range(2):
        folder = tmp_path / f"checkpoint{seed}"
        ids.append(write_untrained("compact", contract, folder, seed))
        listed = command(
            *(monkeypatch, capsys, "models", "--model-store", models),
            *("--add", folder, "--name", f"policy{seed}"),
        )
    assert listed.splitlines() == [f"policy0@{ids[0]}", f"policy1@{ids[1]}"]

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    ready, audit = tmp_path / "ready.json", tmp_path / "audit.jsonl"
    options = {
        "--checkpoint": f"A=policy0@{ids[0][:8]}",
        "--model-store": models,
        "--keys": keys,
        "--tls-cert": tmp_path / "server.pem",
        "--tls-key": tmp_path / "server.pem",
        "--audit-log": audit,
        "--record": tmp_path / "recorded",
        "--shadow": tmp_path / "checkpoint1",
        "--shadow-log": tmp_path / "shadow.jsonl",
        "--ensemble": 0.01,
        "--port": 0,
        "--ready-file": ready,
        "--log-level": "info",
    }
    words = [str(word) for pair in options.items() for word in pair]
    with server_process(*SERVE, *words, "--blind", ready_file=ready) as (url, process):
        assert url.startswith("https://")
        with pytest.raises(PolicyServerError):
            PolicyClient(url, contract, timeout_s=180, api_key="wrong")
        with PolicyClient(url, contract, timeout_s=180, api_key=robot) as client:
            for step in range(3):
                reply = client.infer(
                    images={"third_person": np.zeros((64, 64, 3), np.uint8)},
                    state=np.zeros(10),
                    instruction="push the cube",
                    session="trial-1",
                    step=step,
                    stamp_ns=step * contract.period_ns,
                )
                assert reply.policy_id == "A"
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        headers = {"X-Api-Key": ada}
        with httpx.Client(base_url=url, verify=trust, timeout=180, headers=headers) as operator:
            wanted = {"alias": "B", "reference": f"policy1@{ids[1]}"}
            assert operator.post("/v1/operate/policies", json=wanted).status_code == 200
            aliases = operator.get("/v1/operate/aliases").json()
            assert {alias: state["policy_id"] for alias, state in aliases.items()} == {
                "A": ids[0],
                "B": ids[1],
            }
            text = operator.get("/metrics").text
            assert 'rlco_requests_total{endpoint="stream",outcome="ok"} 3.0' in text
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=180)
        assert process.returncode == 0, log
    rows = [json.loads(line) for line in log.splitlines()]
    assert "not let in" in [row["message"] for row in rows]
    acts = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(act["act"], act["caller"]) for act in acts] == [
        ("loaded", "ada"),
        ("unblinded", "ada"),
    ]
    (recorded,) = (tmp_path / "recorded").iterdir()
    store = EpisodeStore.open(recorded, contract=contract)
    assert store.lengths.tolist() == [3]
    assert store.metadata(0).operator == "bench-1"
    assert store.metadata(0).extra["policy_id"] == "A"
    shadow = (tmp_path / "shadow.jsonl").read_text().splitlines()
    assert len(shadow) == 3


def test_unusable_keys_and_certificates_are_one_line_and_exit_2(
    tmp_path: Path,
    contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_untrained("compact", contract, tmp_path / "checkpoint", 0)
    monkeypatch.setattr(cli, "exit_cleanly_on_signals", lambda: None)
    nothing = str(tmp_path / "nothing")
    for options, says in (
        (["--keys", nothing], "rlco-serve key"),
        (["--tls-cert", nothing, "--tls-key", nothing], "--tls-cert"),
        (["--tls-cert", nothing], "both"),
    ):
        with pytest.raises(SystemExit) as end:
            command(
                monkeypatch, capsys, "--checkpoint", tmp_path / "checkpoint", "--port", 0, *options
            )
        assert end.value.code == 2
        text = capsys.readouterr().err
        assert says in text
        assert text.count("\n") == 1
