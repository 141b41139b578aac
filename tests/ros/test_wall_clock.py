"""Benches that do not wait: collect, evaluate and replay by the wall clock, from one bench file."""

import numpy as np
import pytest
from rlco_datasets.contract import franka_compact
from ros_processes import graph
from ros_studies import write_study
from scripted_server import ScriptedServer

pytestmark = [pytest.mark.ros, pytest.mark.slow]
CONTRACT = franka_compact()
BENCH = """
name: wall
contract: franka_compact
silence_s: 30.0
lab: {{twin: {twin}, lock_step: false}}
guard:  # a busy test machine is no failure
  workspace_low_m: [0.1, -0.4, -0.05]
  workspace_high_m: [1.0, 0.4, 1.0]
  max_step_m: 0.05
  max_step_rad: 0.2
  max_speed_m_s: 3.0
  max_speed_rad_s: 2.5
  max_command_age_s: 10.0
  max_state_age_s: 10.0
  max_camera_age_s: 10.0
policy: {{timeout_s: 30.0, lead_steps: 2}}
recorder: {{raw_bag: true}}
"""


@pytest.fixture
def bench(tmp_path):
    from rlco_calibration.twin import demo_bench

    path = tmp_path / "bench.yaml"
    path.write_text(BENCH.format(twin=demo_bench()))
    return path


def test_what_is_collected_by_the_wall_clock_can_be_replayed(domain, tmp_path, bench):
    from rlco.nodes.raw_bag import raw_folder
    from rlco_datasets.store import EpisodeStore

    path = tmp_path / "demos.zarr"
    code, output = graph("collect", bench=bench, store=path, episodes=1, noise=0, seed=3)
    assert code == 0, output
    store = EpisodeStore.open(path, contract=CONTRACT)
    episode = store.episode(0)
    steps_ns = episode.stamps_ns["step"]
    np.testing.assert_array_equal(np.diff(steps_ns), CONTRACT.period_ns)
    assert abs(steps_ns[0] / 1e9 - path.stat().st_mtime) < 600  # wall-clock stamps
    # What the guard let through is what the operator asked for, this time; where a busy machine let
    # two set-points fall into one period, the episode says so and the steps after carry the rest.
    targets = np.cumsum(episode.actions[:, :3], axis=0)
    asked = episode.extras["operator_target"][:, :3]
    shortened = "step_shortened" in episode.metadata.flags
    off = np.abs((targets - targets[-1]) - (asked - asked[-1])).max()
    assert off < (3 * CONTRACT.max_translation_m if shortened else 1e-3)
    told = [line for line in output.splitlines() if "flagged" in line]
    assert any("step_shortened" in line for line in told) == shortened, output
    assert [item.name for item in raw_folder(path).iterdir()] == ["000000"]
    code, output = graph("replay", bench=bench, store=path, episode=0)
    assert code == 0, output
    assert f"played {len(episode)} steps" in output
    code, output = graph("replay", bench=bench, store=path, episode=1)
    assert code == 1
    assert "has 1 episodes, there is no 1" in output


@pytest.mark.parametrize("blending", ["wait", "ensemble"])
def test_a_study_is_run_by_the_wall_clock(domain, tmp_path, bench, blending):
    from rlco_evaluation.ledger import Ledger

    server = ScriptedServer(CONTRACT).start()
    study = write_study(tmp_path / "study.yaml", CONTRACT, solved_after=(6, None), time_limit_s=3.0)
    ledger_path = tmp_path / "ledger.jsonl"
    try:
        code, output = graph(
            "eval",
            bench=bench,
            study=tmp_path / "study.yaml",
            ledger=ledger_path,
            server=server.url,
            blending=blending,
        )
    finally:
        server.stop()
    assert code == 0, output
    records = Ledger.open(ledger_path, study).trials
    assert {r.success for r in records if "solved-after" in r.condition} == {True}
    assert {r.success for r in records if "solved-after" not in r.condition} == {False}
    assert output.count("observation to command p50") == len(records)
    assert "observation to motion" in output
