"""A real bench in place of the simulated lab: its demonstrations, its twin and its ledgers.

Nothing here moves a robot: a study trains and locks its trials, says what to run at the bench, and
reads the ledgers once they are complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from rlco_calibration.twin import load_twin
from rlco_datasets import spec
from rlco_datasets.contract import Contract, require_same_contract
from rlco_datasets.store import EpisodeStore

from rlco_trainer.studies.arms import Study


class RobotError(ValueError):
    """What a robot's file names does not serve the study."""


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A real bench as a study sees it: one YAML file; paths in it are relative to that file."""

    name: str
    """What the bench is called."""
    bench: str
    """Its bench file, or the name of one that ships with rlco: `bench:=` of the trials."""
    twin: str
    """The measured twin: sim demonstrations and stage II are made in it."""
    real: dict[str, str]
    """Store of real demonstrations by task; each holds its task alone."""
    unseen_objects: str = ""
    """Twin file of the bench with objects that were never demonstrated, for `generalisation`."""
    ledgers: str = ""
    """Folder where the robot's ledgers arrive, LEDGERS/seed-N/STUDY-TASK.jsonl; empty: each lies
    beside its locked study."""
    server: str = "http://127.0.0.1:8000"
    """Where the robot finds the policy server during trials."""

    def __post_init__(self) -> None:
        """Check that the server is an address with a port."""
        address = urlsplit(self.server)
        if address.scheme not in ("http", "https") or not address.hostname or not address.port:
            raise ValueError(
                f"server must be a URL with a port, as http://gpu:8000, got {self.server!r}"
            )

    @property
    def port(self) -> int:
        """The port that the policy server is to listen on."""
        port = urlsplit(self.server).port
        assert port is not None
        return port


def load_robot(path: Path) -> Robot:
    """Read a robot's file, with its paths made absolute.

    Raises:
        SpecError: if it is missing or malformed.
    """
    robot = spec.load(Robot, path)
    folder = path.resolve().parent

    def found(text: str) -> str:
        return str(folder / text) if text else ""

    bench = folder / robot.bench
    return replace(
        robot,
        bench=str(bench) if bench.is_file() else robot.bench,
        twin=found(robot.twin),
        real={task: found(store) for task, store in robot.real.items()},
        unseen_objects=found(robot.unseen_objects),
        ledgers=found(robot.ledgers),
    )


def contract_for(robot: Robot, tasks: Sequence[str], study: Study) -> Contract:
    """Check that a robot has what a study needs; return the contract that all of it speaks.

    Raises:
        RobotError: if a task has no store, a store holds other tasks or too few demonstrations, or
            objects that the study asks for were not measured.
        ContractMismatchError: if stores or twins differ in contract.
        StoreError, TwinError: if a store or a twin cannot be used.
    """
    missing = [task for task in tasks if task not in robot.real]
    if missing:
        raise RobotError(
            f"{robot.name} has no store of real demonstrations of {', '.join(missing)}; name one "
            "under `real`, or choose other --tasks"
        )
    if "unseen objects" in study.tests and not robot.unseen_objects:
        raise RobotError(
            f"{robot.name}: this study also tries objects that were never demonstrated. Measure "
            "some (`rlco-calibrate object`) and name their twin under `unseen_objects`."
        )
    wanted = max(arm.real_demos for arm in study.arms)
    contracts = {}
    for task in tasks:
        path = robot.real[task]
        with EpisodeStore.open(Path(path)) as store:
            contracts[path] = store.contract
            _check_episodes(store, path, task, wanted)
    first, contract = next(iter(contracts.items()))
    for path, other in contracts.items():
        require_same_contract(contract, other, where=f"store {path}, beside {first}")
    for twin in filter(None, (robot.twin, robot.unseen_objects)):
        if (found := load_twin(twin).contract_id) != contract.id:
            raise RobotError(
                f"{twin} was measured for contract {found}, and {first} recorded with "
                f"{contract.name!r} ({contract.id}). Use a twin and stores of one contract."
            )
    return contract


def _check_episodes(store: EpisodeStore, path: str, task: str, wanted: int) -> None:
    kept = [store.metadata(i) for i in range(len(store))]
    counts = Counter(episode.task for episode in kept if episode.outcome == "success")
    others = sorted(set(counts) - {task})
    if others:
        raise RobotError(
            f"store {path} is named for {task} and holds {', '.join(others)} too. Record each task "
            "into a store of its own."
        )
    simulated = sum(episode.source == "sim" for episode in kept)
    if simulated:
        raise RobotError(f"store {path}: {simulated} of its episodes are simulated, not real")
    if counts[task] < wanted:
        raise RobotError(
            f"store {path} holds {counts[task]} successful demonstrations of {task}, and the study "
            f"uses up to {wanted}. Record more, or lower --real-demos."
        )
