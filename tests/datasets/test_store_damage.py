"""Damaged stores: opening or reading one names the file, and gives the writer's lock back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.episodes import make_store
from rlco_datasets.contract import franka_compact
from rlco_datasets.store import EpisodeStore, StoreError

CONTRACT = franka_compact()


def edit_attributes(path: Path, **changes: Any) -> None:
    data = json.loads((path / ".zattrs").read_text())
    data["rlco"] |= changes
    (path / ".zattrs").write_text(json.dumps(data))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda p: p.rename(p.parent / "gone"), "does not exist"),
    "no stamp": (lambda p: (p / ".zattrs").unlink(), "not an rlco episode store"),
    "stamp cut short": (lambda p: shorten(p / ".zattrs"), "not an rlco episode store"),
    "version": (lambda p: edit_attributes(p, version=9), "version 9; this software reads 1"),
    "edited contract": (lambda p: edit_attributes(p, contract_id="0" * 16), "edited by hand"),
    "no ends": (lambda p: (p / "meta/episode_ends/.zarray").unlink(), "is missing"),
    "ends cut short": (lambda p: shorten(p / "meta/episode_ends/0"), "episode_ends/0 is damaged"),
    "ends not JSON": (lambda p: shorten(p / "meta/episode_ends/.zarray"), "not JSON"),
    "no frame": (lambda p: (p / "data/camera_third_person/2.0.0.0").unlink(), "2.0.0.0 is missing"),
    "array cut short": (
        lambda p: (p / "data/state/.zarray").write_text(
            (p / "data/state/.zarray").read_text().replace("9,\n  10", "3,\n  10")
        ),
        "has 3 rows, but the episodes need 9",
    ),
    "no array": (lambda p: (p / "data/state").rename(p / "state"), r"lacks the arrays \['state'\]"),
    "no data": (lambda p: (p / "data").rename(p / "date"), "data is missing"),
    "metadata lost": (lambda p: (p / "meta/episodes.jsonl").write_text(""), "episodes.jsonl"),
    "no metadata": (
        lambda p: (p / "meta/episodes.jsonl").unlink(),
        "episodes.jsonl cannot be read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("mode", ["r", "a"])
def test_damage_is_named_and_the_lock_given_back(mode: Any, damage: str, tmp_path: Path) -> None:
    make_store(tmp_path / "store", CONTRACT, (4, 5))
    harm, message = DAMAGE[damage]
    harm(tmp_path / "store")
    for _ in range(2):
        with pytest.raises(StoreError, match=message):
            EpisodeStore.open(tmp_path / "store", mode)


def test_a_damaged_frame_is_named_when_it_is_read(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", CONTRACT, (4, 5))
    (tmp_path / "store/data/camera_third_person/2.0.0.0").write_bytes(b"")
    with pytest.raises(StoreError, match=r"2\.0\.0\.0.*restore it from a backup"):
        store.episode(0)
    assert len(store.episode(1)) == 5
    (tmp_path / "store/data/camera_third_person/2.0.0.0").unlink()
    with pytest.raises(StoreError, match="restore it from a backup"):
        store.steps("camera_third_person", [0, 2])
