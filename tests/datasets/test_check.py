"""Each rule finds its fault in an otherwise sound episode, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.episodes import make_episode, make_store
from rlco_datasets.check import check_one, check_store
from rlco_datasets.contract import franka_compact
from rlco_datasets.episode import Episode
from rlco_datasets.store import EpisodeStore, StoreError

CONTRACT = franka_compact()


def frozen(episode: Episode) -> None:
    episode.images["third_person"][10:16] = episode.images["third_person"][10]


def blank(episode: Episode) -> None:
    episode.images["third_person"][:] = np.arange(len(episode))[:, None, None, None]


def constant(episode: Episode) -> None:
    episode.actions[:] = 0


def gripper(episode: Episode) -> None:
    episode.actions[:, 6] = 1


def saturated(episode: Episode) -> None:
    episode.actions[:10, :3] = (0, 0, CONTRACT.max_translation_m)


def gap(episode: Episode) -> None:
    for stamps in episode.stamps_ns.values():
        stamps[12:] += 3 * CONTRACT.period_ns


def rate(episode: Episode) -> None:
    for stamps in episode.stamps_ns.values():
        stamps[:] = stamps[0] + (stamps - stamps[0]) * 6 // 5


def stale(episode: Episode) -> None:
    episode.stamps_ns["camera/third_person"][14:17] = episode.stamps_ns["camera/third_person"][13]


def contract(episode: Episode) -> None:
    episode.state[3, 3] = np.nan


FAULTS: list[tuple[Callable[[Episode], None], set[str], str, str]] = [
    (frozen, {"frozen"}, "error", "third_person shows one frame from step 10 to 15"),
    (blank, {"blank"}, "error", "single colour"),
    (constant, {"constant", "gripper"}, "error", "every action is the same"),
    (gripper, {"gripper"}, "warning", "gripper stays at 1.00"),
    (saturated, {"saturated"}, "warning", "translation is at its limit in 33% of the steps"),
    (gap, {"gap"}, "error", "1 gaps, the longest 0.4 s after step 11"),
    (rate, {"rate"}, "error", "it runs at 8.33 Hz, the contract says 10 Hz"),
    (stale, {"stale"}, "warning", "camera/third_person is 0.32 s off its step 16"),
    (contract, {"contract"}, "error", "state is nan at step 3"),
]


@pytest.mark.parametrize(("fault", "rules", "severity", "what"), FAULTS)
def test_a_fault_is_found(
    fault: Callable[[Episode], None], rules: set[str], severity: str, what: str
) -> None:
    episode = make_episode(CONTRACT, 30)
    assert list(check_one(episode, CONTRACT)) == []
    fault(episode)
    findings = list(check_one(episode, CONTRACT))
    assert {finding.rule for finding in findings} == rules
    assert findings[0].severity == severity
    assert what in findings[0].what
    assert findings[0].remedy


def test_short_and_flagged_episodes_are_found() -> None:
    episode = make_episode(CONTRACT, 4, flags=("rate_missed", "late_start"))
    found = {finding.rule: finding.what for finding in check_one(episode, CONTRACT)}
    assert found == {
        "short": "it lasts 4 steps (0.4 s)",
        "flags": "the recorder flagged it: rate_missed, late_start",
    }


def test_a_store_is_checked_episode_by_episode(tmp_path: Path) -> None:
    sound = make_episode(CONTRACT, 30, 0)
    bad = make_episode(CONTRACT, 30, 1)
    gap(bad)
    with EpisodeStore.create(tmp_path / "store", CONTRACT) as store:
        for episode in (sound, bad, sound):
            store.append(replace(episode))
    camera = tmp_path / "store/data/camera_third_person"
    (camera / "35.0.0.0").write_bytes(b"")
    (camera / "90.0.0.0").write_bytes(b"tail")
    findings = check_store(tmp_path / "store")
    assert [(f.episode, f.rule) for f in findings] == [
        (None, "tail"),
        (1, "unreadable"),
        (2, "duplicate"),
    ]
    assert str(findings[2]).startswith(
        "warning episode 2: states and actions are those of episode 0"
    )
    assert "1 uncommitted steps in 1 files" in str(findings[0])


def test_a_sound_store_has_no_findings(tmp_path: Path) -> None:
    make_store(tmp_path / "store", CONTRACT, (12, 30))
    assert check_store(tmp_path / "store") == []


def test_an_empty_store_and_no_store(tmp_path: Path) -> None:
    EpisodeStore.create(tmp_path / "store", CONTRACT).close()
    assert [finding.rule for finding in check_store(tmp_path / "store")] == ["empty"]
    with pytest.raises(StoreError, match="not an rlco episode store"):
        check_store(tmp_path)
