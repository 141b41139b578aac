"""Crashes, full disks and second writers: no committed episode is lost."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.episodes import make_episode, make_store
from rlco_datasets.contract import franka_compact
from rlco_datasets.episode import Episode
from rlco_datasets.store import EpisodeStore, StoreError
from rlco_datasets.store_folder import arrays_of

CONTRACT = franka_compact()
TESTS = Path(__file__).parents[1]


@cache
def episode_number(index: int) -> Episode:
    return make_episode(CONTRACT, 2 + index % 2, index)


def assert_whole(path: Path, episodes: int) -> None:
    """The store holds exactly the episodes 0 to `episodes` - 1, bit by bit."""
    store = EpisodeStore.open(path)
    assert len(store) == episodes
    expected = [arrays_of(episode_number(index)) for index in range(episodes)]
    for key in expected[0] if expected else ():
        values = np.concatenate([arrays[key] for arrays in expected])
        np.testing.assert_array_equal(store.steps(key, slice(None)), values)
    for index in range(episodes):
        assert store.metadata(index) == episode_number(index).metadata


def append_next(store: EpisodeStore) -> int:
    return store.append(episode_number(len(store)))


class Died(BaseException):
    """Stands for a kill: no handler of the store may catch it."""


class Saboteur:
    """Lets `allowed` disk operations happen and makes the next fail, leaving half a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = 1 << 60
        self.failure: Callable[[], BaseException] = Died
        self.once = False
        self._counting = threading.Lock()
        real_open = Path.open

        def opening(path: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
            if mode != "rb" and self._fails():
                if mode == "wb":
                    with real_open(path, "wb") as file:
                        file.write(b"half")
                if mode == "ab":
                    with real_open(path, "ab") as file:
                        file.write(b'{"task": "half')
                raise self.failure()
            return real_open(path, mode, *args, **more)

        monkeypatch.setattr(Path, "open", opening)
        # A death in this process leaves the page cache alone, so the real fsync only costs time.
        monkeypatch.setattr(os, "fsync", self._guard(lambda descriptor: None))
        for name in ("replace", "mkdir", "unlink"):
            monkeypatch.setattr(Path, name, self._guard(getattr(Path, name)))

    def _fails(self) -> bool:
        with self._counting:  # Files are synced by several threads.
            self.allowed -= 1
            return self.allowed == -1 if self.once else self.allowed < 0

    def _guard(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **more: Any) -> Any:
            if self._fails():
                raise self.failure()
            return real(*args, **more)

        return operation


@pytest.fixture
def saboteur(monkeypatch: pytest.MonkeyPatch) -> Saboteur:
    return Saboteur(monkeypatch)


def count_operations(saboteur: Saboteur, action: Callable[[], Any]) -> int:
    saboteur.allowed = 1 << 60
    action()
    return (1 << 60) - saboteur.allowed


@pytest.mark.parametrize("before", [0, 1])
def test_death_at_every_disk_operation_of_an_append(
    before: int, saboteur: Saboteur, tmp_path: Path
) -> None:
    with EpisodeStore.create(tmp_path / "original", CONTRACT) as store:
        for _ in range(before):
            append_next(store)

    def fresh(name: str) -> EpisodeStore:
        shutil.copytree(tmp_path / "original", tmp_path / name)
        return EpisodeStore.open(tmp_path / name, "a")

    with fresh("count") as store:
        operations = count_operations(saboteur, lambda: append_next(store))
    assert operations > 20
    saw_tail = 0
    for allowed in range(operations):
        store = fresh(str(allowed))
        saboteur.allowed = allowed
        with pytest.raises(Died):
            append_next(store)
        store.close()
        saboteur.allowed = 1 << 60
        # The last operation syncs the commit mark's folder: dead then, the episode may be there.
        survivors = len(EpisodeStore.open(store.path))
        assert survivors == before or (survivors == before + 1 and allowed == operations - 1)
        with EpisodeStore.open(store.path, "a") as store:
            saw_tail += store.recovered is not None
            assert append_next(store) == survivors
        assert_whole(store.path, survivors + 1)
        assert EpisodeStore.open(store.path).tail is None
    assert saw_tail > operations // 2


def test_death_during_recovery_is_recovered_from(saboteur: Saboteur, tmp_path: Path) -> None:
    for allowed in range(100):
        make_store(tmp_path / str(allowed), CONTRACT, (2, 3)).close()
        with EpisodeStore.open(tmp_path / str(allowed), "a") as store:
            saboteur.allowed = 25
            with pytest.raises(Died):
                append_next(store)
        saboteur.allowed = allowed
        try:
            EpisodeStore.open(tmp_path / str(allowed), "a").close()
        except Died:
            saboteur.allowed = 1 << 60
            with EpisodeStore.open(tmp_path / str(allowed), "a") as store:
                append_next(store)
            assert_whole(tmp_path / str(allowed), 3)
        else:
            break
    saboteur.allowed = 1 << 60
    assert 0 < allowed < 99


@pytest.mark.parametrize("once", [True, False])
def test_a_disk_that_fills_at_any_operation(once: bool, saboteur: Saboteur, tmp_path: Path) -> None:
    saboteur.failure = lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")
    with EpisodeStore.create(tmp_path / "store", CONTRACT) as store:
        append_next(store)
        operations = count_operations(saboteur, lambda: append_next(store))
    for allowed in range(int(once), operations - 1, 3):
        with EpisodeStore.create(tmp_path / str(allowed), CONTRACT) as store:
            append_next(store)
            saboteur.allowed, saboteur.once = allowed, once
            with pytest.raises(StoreError, match=r"No space left.*free some space"):
                append_next(store)
            saboteur.allowed, saboteur.once = 1 << 60, False
            assert len(EpisodeStore.open(store.path)) == 1
            assert append_next(store) == 1
        assert_whole(store.path, 2)


def test_everything_is_on_disk_before_the_commit_mark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synced: dict[int, int] = {}
    real_fsync, real_replace = os.fsync, Path.replace
    unsynced: list[list[Path]] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_mtime_ns
        real_fsync(descriptor)

    def replacing(source: Path, target: Path) -> Path:
        if target == tmp_path / "store/meta/episode_ends/.zarray":
            everything = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
            unsynced.append(
                [
                    p
                    for p in everything
                    if synced.get(p.stat().st_ino) != p.stat().st_mtime_ns
                    and p.name not in (".lock", "store", "meta")
                ]
            )
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    store = EpisodeStore.create(tmp_path / "store", CONTRACT)
    monkeypatch.setattr(Path, "replace", replacing)
    append_next(store)
    append_next(store)
    partial = tmp_path / "store/meta/episode_ends"
    assert [[p for p in files if p != partial] for files in unsynced] == [[], []]


LOOP = """
import sys
from pathlib import Path
from fakes.episodes import make_episode
from rlco_datasets.contract import franka_compact
from rlco_datasets.store import EpisodeStore
contract = franka_compact()
store = EpisodeStore.open(Path(sys.argv[1]), "a", contract)
numbers = range(len(store), len(store) + 200)
episodes = [make_episode(contract, 2 + index % 2, index) for index in numbers]
print("ready", flush=True)
for episode in episodes:
    print(store.append(episode), flush=True)
"""


def kill_writers(path: Path, kills: int, seed: int) -> int:
    """Kill `kills` appending processes at random moments; return how many left a tail."""
    rng = random.Random(seed)
    EpisodeStore.create(path, CONTRACT).close()
    tails = 0
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            child.wait(timeout=rng.uniform(0.0, 0.08))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().split("\n")[:-1]]
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        store = EpisodeStore.open(path)
        # One more than acknowledged: killed between the commit and its report.
        if acknowledged:
            assert len(store) in (acknowledged[-1] + 1, acknowledged[-1] + 2)
        assert_whole(path, len(store))
        with EpisodeStore.open(path, "a") as store:
            tails += store.recovered is not None
    return tails


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    assert kill_writers(tmp_path / "store", 6, 1) > 0


@pytest.mark.slow
def test_sigkill_at_many_random_moments(tmp_path: Path) -> None:
    assert kill_writers(tmp_path / "store", 60, 2) > 20


FILL = """
import sys, subprocess, os
from pathlib import Path
from fakes.episodes import make_episode
from rlco_datasets.contract import franka_compact
from rlco_datasets.store import EpisodeStore, StoreError
contract, folder = franka_compact(), Path(sys.argv[1])
ballast = folder / "ballast"
ballast.write_bytes(bytes(1 << 20))
store = EpisodeStore.create(folder / "store", contract)
try:
    while True:
        store.append(make_episode(contract, 2 + len(store) % 2, len(store)))
except StoreError as error:
    assert "No space left" in str(error) and "free some space" in str(error), error
full = len(store)
assert full > 3
for opened in (store, EpisodeStore.open(folder / "store")):
    for index in range(full):
        expected = make_episode(contract, 2 + index % 2, index)
        assert (opened.episode(index).state == expected.state).all()
ballast.unlink()
store.append(make_episode(contract, 2 + len(store) % 2, len(store)))
store.close()
reopened = EpisodeStore.open(folder / "store", "a")
assert len(reopened) == full + 1
print("ok", full)
"""


def test_a_real_full_disk(tmp_path: Path) -> None:
    """A tmpfs of 4 MiB in a mount namespace of its own, as root or not."""
    script = f'mount -t tmpfs -o size=4m none "{tmp_path}" && exec "$0" -c "$1" "{tmp_path}"'
    namespace = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not permitted here; the file size limit test stands in")
    done = subprocess.run(
        [*namespace, "sh", "-c", script, sys.executable, FILL],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    assert done.stdout.startswith("ok "), done.stderr


def test_a_real_file_size_limit(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "store", CONTRACT)
    append_next(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(StoreError, match=r"File too large.*free some space"):
            append_next(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert append_next(store) == 1
    assert_whole(tmp_path / "store", 2)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    first = EpisodeStore.create(tmp_path / "store", CONTRACT)
    with pytest.raises(StoreError, match=f"open for writing in process {os.getpid()}; close"):
        EpisodeStore.open(tmp_path / "store", "a")
    assert len(EpisodeStore.open(tmp_path / "store")) == 0
    first.close()
    first.close()
    with EpisodeStore.open(tmp_path / "store", "a") as second:
        append_next(second)
    with pytest.raises(StoreError, match="not open for append"):
        append_next(first)


def test_a_store_opened_to_read_cannot_append(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", CONTRACT, (5,))
    with pytest.raises(StoreError, match="open it with mode 'a'"):
        append_next(store)


def test_create_refuses_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    EpisodeStore.create(tmp_path / "store", CONTRACT).close()
    with pytest.raises(StoreError, match="already exists; open it with mode 'a'"):
        EpisodeStore.create(tmp_path / "store", CONTRACT)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="already exists"):
        EpisodeStore.create(tmp_path / "file", CONTRACT)
    with pytest.raises(StoreError, match="cannot create the store"):
        EpisodeStore.create(tmp_path / "file" / "below", CONTRACT)
