"""What needs the simulator extra (`pip install rlco-trainer[sim]`): worker pools and demos.

ManiSkill and Ray are imported in the functions, so that a policy server installs without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract, ContractMismatchError
from rlco_datasets.store import EpisodeStore
from tqdm import tqdm

from rlco_trainer.evaluate import BatchPool

if TYPE_CHECKING:
    from rlco_trainer.twin.sources import Source


class SimError(ValueError):
    """The twin cannot be simulated here."""


def make_pool(twin: Twin, contract: Contract, task: str, *, workers: int, envs: int) -> BatchPool:
    """Start `workers` processes with `envs` scenes each; one worker is this process.

    Raises:
        ContractMismatchError: if the twin was made for another contract.
        TwinError: if the twin has no such task.
        SimError: if the simulator extra is not installed.
    """
    _require(twin, contract, task)
    try:
        from rlco_trainer.twin.workers import open_pool

        return open_pool(twin, contract, task, workers=workers, scenes=envs)
    except ImportError as error:
        raise SimError(
            f"{error}; install the simulator: pip install 'rlco-trainer[sim]'"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a run of generation made."""

    episodes: int
    attempts: int
    """Episodes tried; those that did not solve the task were thrown away."""
    in_store: int

    @property
    def success_rate(self) -> float:
        """The share of attempts that solved the task."""
        return self.episodes / self.attempts


def write_demonstrations(
    twin: Twin,
    contract: Contract,
    task: str,
    out: Path,
    *,
    episodes: int,
    seed: int,
    workers: int,
    sources: Sequence[Path] = (),
    randomise: bool = False,
) -> Generated:
    """Append `episodes` successful episodes to the store `out`.

    Args:
        twin: where they are made.
        contract: of the twin and the stores.
        task: of the twin.
        out: a new store, or one of the same contract.
        episodes: how many.
        seed: of starts and noise.
        workers: processes.
        sources: stores of demonstrations to move to new starts; none for the scripted expert.
        randomise: make them in benches drawn within the twin's uncertainties.

    Raises:
        ContractMismatchError, TwinError, StoreError, SimError: if an input cannot be used.
    """
    _require(twin, contract, task)
    if episodes < 1:
        raise SimError(f"episodes must be at least 1, got {episodes}")
    try:
        from rlco_trainer.twin.demonstrations import DemonstrationError
        from rlco_trainer.twin.workers import parallel_demonstrations
    except ImportError as error:
        raise SimError(
            f"{error}; install the simulator: pip install 'rlco-trainer[sim]'"
        ) from error
    found = _sources(twin, contract, task, sources) if sources else ()
    exists = out.is_dir() and any(out.iterdir())
    store = EpisodeStore.open(out, "a", contract) if exists else EpisodeStore.create(out, contract)
    attempts = 0
    with store, _as_sim_error(DemonstrationError):
        made = parallel_demonstrations(
            twin,
            contract,
            task,
            episodes,
            seed,
            workers=workers,
            sources=found,
            randomise=randomise,
        )
        for episode in tqdm(made, total=episodes, desc="demonstrations", dynamic_ncols=True):
            store.append(episode)
            attempts += int(episode.metadata.extra["attempts"])
        return Generated(episodes=episodes, attempts=attempts, in_store=len(store))


def _sources(
    twin: Twin, contract: Contract, task: str, paths: Sequence[Path]
) -> tuple[Source, ...]:
    from rlco_trainer.twin.scene import TwinScene
    from rlco_trainer.twin.sources import SourceError, read_sources

    scene = TwinScene(twin, contract, task, images="none")
    with ExitStack() as stack:
        stores = [stack.enter_context(EpisodeStore.open(path, "r", contract)) for path in paths]
        with _as_sim_error(SourceError):
            report = read_sources(stores, scene)
    print(report)
    return report.sources


@contextmanager
def _as_sim_error(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise SimError(str(error)) from error


def _require(twin: Twin, contract: Contract, task: str) -> None:
    twin.task(task)
    if twin.contract_id != contract.id:
        raise ContractMismatchError(
            f"twin {twin.name!r} was made for contract {twin.contract_id}, not for "
            f"{contract.name!r} ({contract.id}). Use a twin and a checkpoint of one contract."
        )
