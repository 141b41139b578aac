"""`rlco-serve replay STORE`: is it the pipeline, or the policy?"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rlco_datasets.contract import ContractMismatchError, require_same_contract
from rlco_datasets.store import EpisodeStore, StoreError

from rlco_policy_server.client import PolicyClient, PolicyServerError
from rlco_policy_server.commands.loading import LoadOptions
from rlco_policy_server.engine import WarmUpError
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.references import CheckpointReferenceError
from rlco_policy_server.replay import asking
from rlco_policy_server.replay.diagnosis import Ask, Replay, replay
from rlco_policy_server.replay.drift import drift
from rlco_policy_server.replay.frames import sample

KEY_VARIABLE = "RLCO_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Send recorded frames through a live server and compare with the recorded actions.

    In: an episode store (training data, or what a server recorded), and a running server, a
    checkpoint, or both. Out: a table of action errors and sentences that say what differs; exit
    status 0 without findings, 1 with, 2 when it could not be tried.
    Example: `rlco-serve replay runs/demos --url http://127.0.0.1:8000 --checkpoint runs/sft`.
    """

    store: tyro.conf.Positional[Path]
    """The store whose frames are sent."""
    url: str | None = None
    """The running server to ask; without it --checkpoint is served in this process."""
    checkpoint: str | None = None
    """A checkpoint folder or NAME@HASH to ask directly, without the pipeline, and compare with."""
    policy: str | None = None
    """The alias to ask; by default the server's own."""
    live: Path | None = None
    """A store of live observations, as --record makes it, to compare with the first one's."""
    frames: int = 64
    """How many frames are sent, spread over the store."""
    timeout_s: float = 10.0
    """How long one answer may take."""
    json: Path | None = None
    """A file to write the figures and findings to."""
    load: Annotated[LoadOptions, tyro.conf.arg(name="")] = field(default_factory=LoadOptions)
    """How the checkpoint is loaded. An API key is taken from the variable RLCO_API_KEY."""


def main(arguments: list[str]) -> None:
    """Run the command."""
    asked = tyro.cli(Arguments, prog="rlco-serve replay", args=arguments)
    try:
        findings = run(asked)
    except ContractMismatchError as error:
        print(f"finding: {error}")
        sys.exit(1)
    except (
        StoreError,
        PolicyServerError,
        CheckpointReferenceError,
        WarmUpError,
        ValueError,
    ) as error:
        print(f"rlco-serve replay: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if findings else 0)


def run(asked: Arguments) -> list[str]:
    """Replay, print, and return what was found."""
    if asked.url is None and asked.checkpoint is None:
        raise CheckpointReferenceError("give --url, --checkpoint, or both")
    store = EpisodeStore.open(asked.store)
    frames = sample(store, asked.frames)
    if not frames:
        raise StoreError(
            f"{asked.store} holds no two steps in a row; record or copy episodes first"
        )
    served: ServedPolicy | None = None
    if asked.checkpoint is not None:
        served = asked.load.loader().load("default", asked.checkpoint)
        where = f"checkpoint {asked.checkpoint}"
        require_same_contract(store.contract, served.policy.contract, where=where)
    with ExitStack() as stack:
        reference: Ask | None = None
        if asked.url is not None:
            client = stack.enter_context(
                PolicyClient(
                    asked.url,
                    store.contract,
                    timeout_s=asked.timeout_s,
                    api_key=os.environ.get(KEY_VARIABLE),
                )
            )
            ask = asking.server(client, asked.policy)
            reference = None if served is None else asking.direct(served)
        else:
            assert served is not None
            ask = stack.enter_context(asking.own_server(served))
            reference = asking.direct(served)
        result = replay(frames, ask, store.contract, reference=reference)
    findings = list(result.findings)
    if asked.live is not None:
        live = EpisodeStore.open(asked.live, contract=store.contract)
        findings += drift(frames, sample(live, asked.frames), store.contract)
    _print(result, findings)
    if asked.json is not None:
        text = json.dumps({**asdict(result), "findings": findings}, indent=1)
        asked.json.write_text(text + "\n", encoding="utf-8")
    return findings


def _print(result: Replay, findings: list[str]) -> None:
    print(f"{result.frames} frames; mean absolute error of the executed actions (m, rad, opening)")
    print(f"{'action':10} {'error':>9} {'median':>9} {'correlation':>12} {'scale':>7}")
    for one in result.fit.dimensions:
        print(
            f"{one.name:10} {one.error:9.5f} {one.constant_error:9.5f} {one.correlation:12.2f} "
            f"{one.scale:7.2f}"
        )
    print(f"error over that of the median action: {result.fit.relative_error:.3f}")
    for name, error in result.garbled.items():
        print(f"  if {name}: {error:.3f}")
    if result.reference_difference is not None:
        print(f"largest difference from the checkpoint itself: {result.reference_difference:.2g}")
    if result.recorded_difference is not None:
        print(f"largest difference from the recorded chunks: {result.recorded_difference:.2g}")
    for finding in findings:
        print(f"finding: {finding}")
    if not findings:
        print("no findings: the pipeline shows the policy what was recorded")
