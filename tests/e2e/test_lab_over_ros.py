"""The robot side for real: a drawn lab, ROS over DDS, the policy server over HTTP."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rlco_datasets.contract import franka_compact
from rlco_datasets.store import EpisodeStore

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.slow]
sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

CONTRACT = franka_compact()
BIN = Path(sys.executable).parent
TIMEOUT_S = 900
DOMAIN = "101"


def run(command, *words):
    result = subprocess.run(
        [str(BIN / command), *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A hidden lab drawn by its command."""
    pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
    pytest.importorskip("mani_skill", reason="needs the simulator (make setup)")
    out = tmp_path_factory.mktemp("lab") / "hidden.yaml"
    run("rlco-lab", "draw", "--seed", 11, "--gap", 1.0, "--out", out)
    return out


def test_demonstrations_are_collected_in_a_hidden_lab(lab, tmp_path):
    store_path = tmp_path / "demos.zarr"
    words = (f"twin:={lab}", f"store:={store_path}", "episodes:=2", "seed:=4")
    run("rlco-up", "collect", *words, f"domain:={DOMAIN}")
    store = EpisodeStore.open(store_path, contract=CONTRACT)
    assert len(store) == 2
    for index in range(2):
        episode = store.episode(index)
        assert episode.metadata.flags == ()
        assert 10 < len(episode) < 80
        step = episode.stamps_ns["step"]
        assert (np.diff(step) == CONTRACT.period_ns).all()
        for stamps in episode.stamps_ns.values():
            np.testing.assert_array_equal(stamps, step)
        images = episode.images["third_person"]
        assert images.std() > 10
        assert np.abs(np.diff(images.astype(int), axis=0)).mean(axis=(1, 2, 3)).min() > 0
        assert episode.actions[0, 6] == 1.0
        assert episode.actions[:, 6].min() == 0.0


def test_a_served_checkpoint_is_evaluated_in_a_hidden_lab(lab, tmp_path):
    from processes import server_process
    from rlco_evaluation.ledger import Ledger
    from ros_studies import write_study

    for code in "AB":
        run("rlco-train", "init", "--preset", "compact", "--out", tmp_path / code)
    study = write_study(
        tmp_path / "study.yaml",
        CONTRACT,
        codes=("A", "B"),
        solved_after=(None,),
        time_limit_s=2.0,
        milestones=("reached", "grasped", "lifted", "over_bowl", "success"),
    )
    ready = tmp_path / "ready.json"
    words = ["--blind", "--port", "0", "--ready-file", str(ready)]
    for code in "AB":
        words += ["--checkpoint", f"{code}={tmp_path / code}"]
    with server_process("-m", "rlco_policy_server.cli", *words, ready_file=ready) as (url, _):
        run(
            "rlco-up",
            "eval",
            f"twin:={lab}",
            f"study:={tmp_path / 'study.yaml'}",
            f"ledger:={tmp_path / 'ledger.jsonl'}",
            f"frames:={tmp_path / 'frames'}",
            f"server:={url}",
            f"domain:={DOMAIN}",
        )
    ledger = Ledger.open(tmp_path / "ledger.jsonl", study)
    assert ledger.remaining(study) == ()
    for record in ledger.trials:
        assert (record.status, record.success, record.steps) == ("done", False, 20)
        assert record.policy_id == record.code
        assert len(list((tmp_path / record.frames).glob("*.jpg"))) in (5, 6)
