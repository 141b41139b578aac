"""What needs the simulator extra (`pip install rlco-trainer[sim]`): worker pools and demos.

ManiSkill and Ray are imported in the functions, so that a policy server installs without them.
"""

from __future__ import annotations

from pathlib import Path

from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract, ContractMismatchError
from rlco_datasets.store import EpisodeStore
from tqdm import tqdm

from rlco_trainer.evaluate import BatchPool


class SimError(ValueError):
    """The twin cannot be simulated here."""


def make_pool(twin: Twin, contract: Contract, task: str, *, workers: int, envs: int) -> BatchPool:
    """Start `workers` processes with `envs` scenes each.

    Raises:
        ContractMismatchError: if the twin was made for another contract.
        TwinError: if the twin has no such task.
        SimError: if the simulator extra is not installed.
    """
    _require(twin, contract, task)
    try:
        from rlco_trainer.twin.workers import WorkerPool

        return WorkerPool(twin, contract, task, workers=workers, scenes=envs)
    except ImportError as error:
        raise SimError(
            f"{error}; install the simulator: pip install 'rlco-trainer[sim]'"
        ) from error


def write_demonstrations(
    twin: Twin,
    contract: Contract,
    task: str,
    out: Path,
    *,
    episodes: int,
    seed: int,
    workers: int,
) -> int:
    """Append `episodes` successful expert episodes to the store `out`; return its new length.

    Raises:
        ContractMismatchError, TwinError, StoreError, SimError: if an input cannot be used.
    """
    _require(twin, contract, task)
    if episodes < 1:
        raise SimError(f"episodes must be at least 1, got {episodes}")
    try:
        from rlco_trainer.twin.workers import parallel_demonstrations
    except ImportError as error:
        raise SimError(
            f"{error}; install the simulator: pip install 'rlco-trainer[sim]'"
        ) from error
    exists = out.is_dir() and any(out.iterdir())
    store = EpisodeStore.open(out, "a", contract) if exists else EpisodeStore.create(out, contract)
    with store:
        made = parallel_demonstrations(twin, contract, task, episodes, seed, workers=workers)
        for episode in tqdm(made, total=episodes, desc="demonstrations", dynamic_ncols=True):
            store.append(episode)
        return len(store)


def _require(twin: Twin, contract: Contract, task: str) -> None:
    twin.task(task)
    if twin.contract_id != contract.id:
        raise ContractMismatchError(
            f"twin {twin.name!r} was made for contract {twin.contract_id}, not for "
            f"{contract.name!r} ({contract.id}). Use a twin and a checkpoint of one contract."
        )
