"""The gate before training: real frames against the twin's, real motions against its replays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlco_datasets.contract import Contract, require_same_contract
from rlco_datasets.store import EpisodeStore

from rlco_calibration import check_camera, check_demos, check_motion, demonstration
from rlco_calibration.captures import CaptureFolder
from rlco_calibration.check_demos import ReplayError
from rlco_calibration.check_limits import Thresholds, Verdict
from rlco_calibration.check_page import Overlay, write_page
from rlco_calibration.recording import load_all
from rlco_calibration.simulators import TwinSimulator
from rlco_calibration.twin import Twin

PAGE = "check.html"


def check(
    folder: Path,
    twin: Twin,
    contract: Contract,
    simulator: TwinSimulator,
    limits: Thresholds,
    *,
    demos: Sequence[Path] = (),
    demos_of_each_task: int = 10,
) -> list[Verdict]:
    """Return a verdict for every item, and write `check.html` into the folder.

    `demos` are stores of real demonstrations to replay in the twin.

    Raises:
        StoreError, ContractMismatchError: if a store cannot be used.
        TwinError: if a demonstration is of a task that the twin lacks.
    """
    verdicts = [_contract(twin, contract)]
    overlays: list[Overlay] = []
    for path in sorted(p.parent for p in (folder / "captures").glob("*/session.yaml")):
        captures = CaptureFolder.open(path)
        if captures.session.on_hand or captures.session.camera not in contract.camera_names:
            continue
        found, pictures = check_camera.camera(captures, twin, simulator, limits)
        verdicts += found
        overlays += pictures
    verdicts += check_motion.motions(load_all(folder / "motions"), twin, simulator, limits)
    verdicts += check_motion.pushes(load_all(folder / "pushes"), twin, simulator, limits)
    replays = _replays(demos, twin, contract, simulator, demos_of_each_task)
    verdicts += _demonstrations(replays, limits)
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder / PAGE, twin, verdicts, overlays, replays, contract.period_s)
    return verdicts


def _contract(twin: Twin, contract: Contract) -> Verdict:
    same = twin.contract_id == contract.id
    return Verdict(
        name="contract",
        level="pass" if same else "fail",
        measured=f"the twin's is {twin.contract_id}, {contract.name!r} is {contract.id}",
        remedy="give the contract that the twin was made for, or calibrate again with this one",
    )


def _replays(
    stores: Sequence[Path], twin: Twin, contract: Contract, simulator: TwinSimulator, most: int
) -> list[ReplayError]:
    found = []
    for path in stores:
        store = EpisodeStore.open(path)
        require_same_contract(contract, store.contract, where=str(path))
        for demo in demonstration.read(store, most=most):
            replayed = simulator.demonstrate(twin, demo.recording)
            found.append(check_demos.compare(demo, replayed, contract.period_s))
    return found


def _demonstrations(replays: Sequence[ReplayError], limits: Thresholds) -> list[Verdict]:
    if not replays:
        return [
            Verdict(
                name="replay",
                level="warn",
                measured="no real demonstrations were replayed",
                remedy="record some with their start states, and give their stores (--demos)",
            )
        ]
    tasks = dict.fromkeys(replay.demonstration.task for replay in replays)
    return [
        verdict
        for task in tasks
        for verdict in check_demos.verdicts(
            [replay for replay in replays if replay.demonstration.task == task], limits
        )
    ]
