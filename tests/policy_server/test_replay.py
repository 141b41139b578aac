"""`rlco-serve replay`: it must name what a pipeline garbles, and stay silent about a good one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.episodes import make_episode, make_metadata
from fakes.policies import CountingPolicy, running_server, started_gateway
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.episode import Episode
from rlco_datasets.store import EpisodeStore
from rlco_policy_server.cli import COMMANDS
from rlco_policy_server.replay.agreement import agreement
from rlco_policy_server.replay.diagnosis import replay
from rlco_policy_server.replay.drift import drift
from rlco_policy_server.replay.frames import GARBLINGS, Frame, sample
from rlco_trainer.untrained import write_untrained

HORIZON = 4


def policy(frame: Frame) -> NDArray[np.float32]:
    """Act on everything a pipeline can garble: colours, both image axes, width and rotation."""
    pixels = frame.images["third_person"].astype(np.float64) / 255
    half = len(pixels) // 2
    action = np.zeros(7)
    action[0] = pixels[..., 0].mean() - pixels[..., 2].mean()
    action[1] = pixels[:half].mean() - pixels[half:].mean()
    action[2] = pixels[:, :half].mean() - pixels[:, half:].mean()
    action[3] = frame.state[4]  # the second row of the rotation's first column
    action[6] = frame.state[9] / 0.08
    scale = 0.05
    action[:3] *= scale
    action[3] *= 0.2
    return np.repeat(action[None], HORIZON, axis=0).astype(np.float32)


@pytest.fixture
def frames(contract: Contract) -> list[Frame]:
    rng = np.random.default_rng(0)
    found = []
    for row in range(24):
        image = np.empty((64, 64, 3), np.uint8)
        corners = rng.integers(0, 255, (2, 2, 3))
        image[:] = np.repeat(np.repeat(corners, 32, axis=0), 32, axis=1)
        turn = rng.uniform(-1, 1)
        state = np.array([0.4, 0, 0.2, np.cos(turn), np.sin(turn), 0, -np.sin(turn), np.cos(turn)])
        state = np.append(state, [0, rng.uniform(0, 0.08)]).astype(np.float32)
        frame = Frame(
            row=row,
            images={"third_person": image},
            state=state,
            instruction="push",
            actions=np.zeros((HORIZON, 7), np.float32),
        )
        found.append(replace(frame, actions=policy(frame)))
    return found


def test_a_good_pipeline_gives_no_findings(frames: list[Frame], contract: Contract) -> None:
    result = replay(frames, policy, contract, reference=policy)
    assert result.findings == ()
    assert result.fit.relative_error == 0
    assert {one.name for one in result.fit.dimensions} == {"x", "y", "z", "rx", "gripper"}
    assert all(error > 0.1 for error in result.garbled.values())


@pytest.mark.parametrize("name", GARBLINGS)
def test_every_garbled_input_is_named(frames: list[Frame], contract: Contract, name: str) -> None:
    def garbling_server(frame: Frame) -> NDArray[np.float32]:
        return policy(GARBLINGS[name](frame, contract))

    result = replay(frames, garbling_server, contract, reference=policy)
    assert any(name in finding for finding in result.findings)
    assert f"the server answers exactly as the checkpoint does when {name}" in result.findings
    best = min(result.garbled, key=lambda key: result.garbled[key])
    assert best == name


def test_inverted_and_scaled_actions_are_named(frames: list[Frame], contract: Contract) -> None:
    def other_units(frame: Frame) -> NDArray[np.float32]:
        chunk = policy(frame)
        chunk[:, 6] = 1 - chunk[:, 6]
        chunk[:, 1] *= -1
        chunk[:, 0] *= 1000
        return chunk

    findings = " ".join(replay(frames, other_units, contract).findings)
    assert "action gripper is inverted" in findings
    assert "action y is inverted" in findings
    assert "action x is 1e+03 times" in findings


def test_a_shifted_prediction_is_named() -> None:
    rng = np.random.default_rng(0)
    recorded = [rng.normal(size=(HORIZON, 7)).astype(np.float32) for _ in range(40)]
    shifted = [np.concatenate([rng.normal(size=(1, 7)), chunk[:-1]]) for chunk in recorded]
    assert agreement(recorded, shifted).lag_steps == 1
    assert agreement(shifted, recorded).lag_steps == -1
    assert agreement(recorded, recorded).lag_steps == 0


def test_an_unlearned_policy_is_told_from_a_broken_pipeline(
    frames: list[Frame], contract: Contract
) -> None:
    rng = np.random.default_rng(1)

    def noise(frame: Frame) -> NDArray[np.float32]:
        return rng.normal(size=(HORIZON, 7)).astype(np.float32)

    findings = replay(frames, noise, contract).findings
    assert any("did not learn this data" in finding for finding in findings)


def test_a_recording_of_another_policy_is_noticed(frames: list[Frame], contract: Contract) -> None:
    kept = [replace(frame, chunk=frame.actions) for frame in frames]
    assert replay(kept, policy, contract).recorded_difference == 0
    other = [replace(frame, chunk=frame.actions + 0.1) for frame in frames]
    assert any("recorded by up to" in text for text in replay(other, policy, contract).findings)


def test_a_recording_in_which_nothing_moves_is_refused(frames: list[Frame]) -> None:
    still = [np.zeros((HORIZON, 7), np.float32) for _ in frames]
    with pytest.raises(ValueError, match="nothing moves"):
        agreement(still, still)


def test_drift_names_what_changed(frames: list[Frame], contract: Contract) -> None:
    assert drift(frames, frames, contract) == []
    reddish = []
    for frame in frames:
        image = frame.images["third_person"] // np.array([1, 2, 8], np.uint8)
        reddish.append(replace(frame, images={"third_person": image}))
    swapped = [GARBLINGS["red and blue are swapped (BGR for RGB)"](f, contract) for f in reddish]
    assert ["red and blue look swapped" in text for text in drift(reddish, swapped, contract)] == [
        True
    ]
    dark = [replace(f, images={"third_person": f.images["third_person"] // 4}) for f in frames]
    (finding,) = drift(frames, dark, contract)
    assert "light, exposure or view" in finding
    metres = [replace(f, state=f.state * 1000, instruction="other") for f in frames]
    findings = " ".join(drift(frames, metres, contract))
    assert "state tcp_position[0]: 100%" in findings
    assert "['other']" in findings


def demonstrations(path: Path, contract: Contract) -> Path:
    """Write two episodes that move by 0.05 of what `CountingPolicy` answers."""
    with EpisodeStore.create(path, contract) as store:
        for seed in range(2):
            episode = make_episode(contract, 10, seed, extras=False)
            images = {"third_person": np.full((10, 64, 64, 3), 80 * (seed + 1), np.uint8)}
            actions = np.zeros_like(episode.actions)
            actions[:, 0], actions[:, 1] = 0.05 * images["third_person"][0, 0, 0, 0] / 255, 0.01
            store.append(
                Episode(
                    metadata=make_metadata(contract),
                    images=images,
                    state=episode.state,
                    actions=actions,
                    stamps_ns=episode.stamps_ns,
                )
            )
    return path


def test_frames_are_spread_over_the_store_and_stop_at_episodes_ends(
    contract: Contract, tmp_path: Path
) -> None:
    store = EpisodeStore.open(demonstrations(tmp_path / "demos", contract))
    frames = sample(store, 100)
    assert [frame.row for frame in frames] == [*range(9), *range(10, 19)]
    assert [len(frame.actions) for frame in frames[:9]] == [4] * 7 + [3, 2]
    assert [frame.row for frame in sample(store, 2)] == [0, 18]
    np.testing.assert_array_equal(frames[9].state, store.steps("state", [10])[0])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        COMMANDS["replay"](list(arguments))
    assert isinstance(end.value.code, int)
    captured = capsys.readouterr()
    return end.value.code, captured.out + captured.err


def test_the_command_asks_a_running_server(
    contract: Contract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = demonstrations(tmp_path / "demos", contract)
    with started_gateway(CountingPolicy(contract)) as gateway, running_server(gateway) as url:
        report = tmp_path / "report.json"
        status, text = run(
            capsys, str(demos), "--url", url, "--timeout-s", "180", "--json", str(report)
        )
    assert status == 1
    assert "action x is 20 times the recorded one" in text
    found = json.loads(report.read_text())
    assert found["frames"] == 18
    assert found["fit"]["dimensions"][0]["correlation"] > 0.99


def test_the_command_serves_a_checkpoint_itself(
    contract: Contract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = demonstrations(tmp_path / "demos", contract)
    checkpoint = tmp_path / "checkpoint"
    write_untrained("compact", contract, checkpoint, seed=0)
    status, text = run(capsys, str(demos), "--checkpoint", str(checkpoint), "--frames", "4")
    assert status in (0, 1), text
    assert "largest difference from the checkpoint itself: 0" in text
    status, text = run(capsys, str(demos))
    assert (status, "--url, --checkpoint" in text) == (2, True)
    status, text = run(capsys, str(tmp_path / "nowhere"), "--checkpoint", str(checkpoint))
    assert (status, "nowhere" in text) == (2, True)
