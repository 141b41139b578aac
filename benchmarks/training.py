"""Where training time goes.

Stage I: samples a second with drawing, decoding and augmentation, against the same optimizer steps
on one batch that is already there (the loader-free upper bound). Stage II: seconds an iteration
spends on simulation, rendering and inference (in the workers) and on the update (in the learner),
each against the whole iteration, and episodes a second against rollouts without any update.

python benchmarks/training.py --json training.json
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rlco_calibration
import torch
import tyro
from _rows import Better, Row, report, row
from rlco_calibration.twin import load_twin
from rlco_datasets.contract import franka_compact
from rlco_datasets.episode import Episode, EpisodeMetadata
from rlco_datasets.store import EpisodeStore
from rlco_trainer.run_folder import read_metrics
from rlco_trainer.sim import make_pool, write_demonstrations
from rlco_trainer.stage1 import Stage1Config, Stage1Run, run_stage1
from rlco_trainer.stage2 import run_stage2
from rlco_trainer.stage2_config import Stage2Config

BENCH = Path(rlco_calibration.__file__).parent / "bench.yaml"
TASK = "pick_and_place"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure both stages; prints a table."""

    blocks: int = 8
    """Alternating blocks of each side of the stage I comparison."""
    steps: int = 25
    """Optimizer steps a block."""
    batch: int = 128
    """Samples a step."""
    iterations: int = 4
    """Stage II iterations; 0 leaves stage II, and with it the simulator, out."""
    threads: int = 2
    """Torch threads."""
    json: Path | None = None
    """Where to write the rows."""


def noise_store(path: Path) -> None:
    """Write 20 episodes of 40 steps of noise."""
    contract, rng = franka_compact(), np.random.default_rng(0)
    metadata = EpisodeMetadata(
        source="real",
        task=TASK,
        instruction="put the red cube in the blue bowl",
        operator="noise",
        outcome="success",
        contract_id=contract.id,
        software_version="0",
        created_utc="2026-01-01T00:00:00+00:00",
    )
    with EpisodeStore.create(path, contract) as store:
        for _ in range(20):
            actions = rng.uniform(-0.02, 0.02, (40, 7)).astype(np.float32)
            actions[:, 6] = rng.integers(0, 2, 40)
            store.append(
                Episode(
                    metadata=metadata,
                    images={"third_person": rng.integers(0, 255, (40, 64, 64, 3), np.uint8)},
                    state=rng.uniform(-1, 1, (40, 10)).astype(np.float32),
                    actions=actions,
                    stamps_ns={"step": np.arange(40, dtype=np.int64) * contract.period_ns},
                )
            )


def seconds(steps: int, step: Callable[[], Any]) -> float:
    """Return how long `steps` calls take."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def stage1_rows(arguments: Arguments, folder: Path) -> list[Row]:
    """Measure stage I."""
    noise_store(folder / "real")
    config = Stage1Config(
        real=(str(folder / "real"),),
        alpha=0.0,
        batch=arguments.batch,
        threads=arguments.threads,
        warmup_steps=0,
        steps=10_000,
    )
    whole, bare = Stage1Run(config), Stage1Run(config)
    drawn = bare.draw()
    ours, peer = [], []
    for block in range(arguments.blocks + 1):
        mine = seconds(arguments.steps, whole.update)
        theirs = seconds(arguments.steps, lambda: bare.descend([drawn]))
        if block > 0:
            ours.append(arguments.steps * config.batch / mine)
            peer.append(arguments.steps * config.batch / theirs)
    return [medians("stage I, against no loader", ours, peer, "samples/s", better="higher")]


def stage2_rows(arguments: Arguments, folder: Path) -> list[Row]:
    """Measure stage II on short demonstrations and a barely trained policy."""
    twin = load_twin(BENCH)
    store, first = folder / "sim", folder / "stage1"
    write_demonstrations(twin, franka_compact(), TASK, store, episodes=4, seed=0, workers=1)
    run_stage1(Stage1Config(sim=(str(store),), alpha=1.0, steps=30, batch=32), first)
    config = Stage2Config(
        init=str(first / "checkpoint"),
        twin=str(BENCH),
        tasks=(TASK,),
        real=(str(store),),
        iterations=arguments.iterations,
        episodes=64,
        evaluation_episodes=2,
        evaluate_every=1000,
        threads=arguments.threads,
    )
    run_stage2(
        config,
        folder / "stage2",
        lambda twin, config, policy: make_pool(
            twin, policy.contract, TASK, workers=config.workers, envs=config.envs
        ),
    )
    rows = [line for line in read_metrics(folder / "stage2") if "seconds/rollout" in line]
    rollout = [line["seconds/rollout"] for line in rows]
    whole = [line["seconds/rollout"] + line["seconds/update"] for line in rows]
    parts = [
        medians(f"stage II, share of {name}", [r[f"seconds/{name}"] for r in rows], whole, "s")
        for name in ("simulation", "rendering", "inference", "update")
    ]
    rates = ([config.episodes / s for s in whole], [config.episodes / s for s in rollout])
    return [*parts, medians("stage II, against no update", *rates, "episodes/s", better="higher")]


def medians(
    name: str, ours: list[float], peer: list[float], unit: str, better: Better = "lower"
) -> Row:
    """Return the row of two samples' medians."""
    a, b = statistics.median(ours), statistics.median(peer)
    return row(name, a, b, unit, len(ours), better=better)


def main() -> None:
    """Measure, print and write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = stage1_rows(arguments, Path(folder))
        if arguments.iterations > 0:
            rows += stage2_rows(arguments, Path(folder))
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
