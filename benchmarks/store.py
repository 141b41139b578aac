"""How fast the episode store reads and writes, against what the machine and its peers can do.

Reading: one sample is 2 images of 224x224, one state and 16 actions; a batch is 64 random samples.
The limit is a raw numpy memmap of the same arrays. Writing: whole episodes, durable when counted;
the peer is the same arrays through zarr-python 3, which does not fsync.

Example: python benchmarks/store.py --json store.json
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import zarr
from _rows import Row, report, row
from numcodecs import Blosc
from numpy.typing import NDArray
from rlco_datasets.contract import Contract, franka_compact, franka_third_person
from rlco_datasets.loader import ChunkSource
from rlco_datasets.store import Episode, EpisodeMetadata, EpisodeStore

BATCH, ACTIONS = 64, 16
LOADER_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the episode store; prints a table. Example: python benchmarks/store.py."""

    json: Path | None = None
    """Also write the rows to this file."""
    episodes: int = 6
    """Episodes in the store that is read."""
    steps: int = 150
    """Steps an episode."""
    repeats: int = 7
    """Repeats of each measurement; medians are reported."""


def photo_like(rng: np.random.Generator, camera: Any, steps: int) -> NDArray[np.uint8]:
    """Return `(steps, H, W, 3)` smooth frames with noise, which compress as camera frames do."""
    v, u = np.mgrid[: camera.height, : camera.width]
    waves = [np.sin(u * f + v * g + p) for f, g, p in rng.uniform(0, 0.1, (3, 3))]
    base = 127 + 60 * np.stack(waves, axis=-1)
    noise = rng.normal(0, 3, (steps, camera.height, camera.width, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def make_episode(contract: Contract, steps: int, seed: int) -> Episode:
    """Return an episode of `steps` steps."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(0, 0.02, (steps, 7)).astype(np.float32)
    return Episode(
        metadata=EpisodeMetadata(
            source="sim",
            task="benchmark",
            instruction="none",
            operator="benchmark",
            outcome="success",
            contract_id=contract.id,
            software_version="0",
            created_utc=datetime.now(UTC).isoformat(),
        ),
        images={camera.name: photo_like(rng, camera, steps) for camera in contract.cameras},
        state=rng.normal(size=(steps, contract.state_dim)).astype(np.float32),
        actions=actions,
        stamps_ns={"step": np.arange(steps, dtype=np.int64) * contract.period_ns},
    )


def median_s(repeats: int, action: Callable[[], object]) -> float:
    """Return the median duration of `action` in seconds, after one warm-up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_reading(folder: Path, options: Options, contract: Contract) -> Row:
    """Compare random samples of the store with those of raw memmaps of the same arrays."""
    store = EpisodeStore.create(folder / "store", contract)
    for seed in range(options.episodes):
        store.append(make_episode(contract, options.steps, seed))
    source = ChunkSource(store, cache="disk", horizon=ACTIONS)
    raw = {}
    for key in (*(f"camera_{name}" for name in contract.camera_names), "state", "action"):
        np.save(folder / f"{key}.npy", store.steps(key, slice(None)))
        raw[key] = np.load(folder / f"{key}.npy", mmap_mode="r")
    rng = np.random.default_rng(0)

    def rows() -> NDArray[np.int64]:
        return rng.integers(0, store.steps_total - ACTIONS, BATCH)

    def ours() -> None:
        source.batch(rows())

    def peer() -> None:
        chosen = rows()
        for key, values in raw.items():
            wanted = chosen[:, None] + np.arange(ACTIONS) if key == "action" else chosen
            np.ascontiguousarray(values[wanted])

    repeats = 5 * options.repeats
    name = "store: random samples, 2 images 224x224 + state + 16 actions (peer: raw memmap)"
    return row(
        name,
        BATCH / median_s(repeats, ours),
        BATCH / median_s(repeats, peer),
        "samples/s",
        repeats,
        better="higher",
    )


def measure_writing(folder: Path, options: Options, contract: Contract) -> Row:
    """Compare durable appends with zarr-python 3 writing the same arrays without fsync."""
    episode = make_episode(contract, options.steps, 99)
    store = EpisodeStore.create(folder / "written", contract)
    root = zarr.create_group(str(folder / "peer"), zarr_format=2)
    compressor = Blosc(cname="lz4", clevel=5, shuffle=Blosc.NOSHUFFLE)
    values: dict[str, NDArray[Any]] = {"state": episode.state, "action": episode.actions}
    values.update(episode.images)
    arrays = {
        key: root.create_array(
            key,
            shape=(0, *value.shape[1:]),
            chunks=(1 if value.ndim == 4 else 1024, *value.shape[1:]),
            dtype=value.dtype,
            compressors=compressor,
        )
        for key, value in values.items()
    }

    def peer() -> None:
        for key, value in values.items():
            arrays[key].append(value)

    ours_s = median_s(options.repeats, lambda: store.append(episode))
    peer_s = median_s(options.repeats, peer)
    name = "store: durable append, 2 cameras 224x224 (peer: zarr-python 3, no fsync)"
    return row(
        name,
        options.steps / ours_s,
        options.steps / peer_s,
        "steps/s",
        options.repeats,
        better="higher",
    )


def measure_loader(folder: Path, options: Options) -> Row:
    """Compare an in-memory batch with the bare numpy gather of its images."""
    contract = franka_compact()
    store = EpisodeStore.create(folder / "small", contract)
    for seed in range(options.episodes):
        store.append(make_episode(contract, options.steps, seed))
    source = ChunkSource(store)
    frames = store.steps("camera_third_person", slice(None))
    rng = np.random.default_rng(0)

    def rows() -> NDArray[np.int64]:
        return rng.integers(0, len(source), LOADER_BATCH)

    repeats = 30 * options.repeats
    ours_s = median_s(repeats, lambda: source.batch(rows()))
    peer_s = median_s(repeats, lambda: frames[rows()])
    name = f"loader: batches of {LOADER_BATCH}, 64x64 in memory (peer: numpy gather of the images)"
    return row(name, 1 / ours_s, 1 / peer_s, "batches/s", repeats, better="higher")


def main() -> None:
    """Run every measurement and print a table."""
    options = tyro.cli(Options)
    contract = franka_third_person()
    camera = contract.cameras[0]
    contract = replace(contract, cameras=(camera, replace(camera, name="wrist")))
    folder = Path(tempfile.mkdtemp(prefix="rlco_store_"))
    try:
        rows = [
            measure_reading(folder, options, contract),
            measure_writing(folder, options, contract),
            measure_loader(folder, options),
        ]
    finally:
        shutil.rmtree(folder)
    report(rows, options.json)


if __name__ == "__main__":
    main()
