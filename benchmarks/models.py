"""What caching saves in the large families, and what memory their presets take.

Times are medians on the CPU, of the tiny presets decoding as the large ones do (several denoising
steps; token after token): ours reads images and prompt once an action chunk and keeps keys and
values; the peer is the same network computing everything again, for each denoising step (pi05) or
for each token (openvla). Memory of a large preset is its estimate beside
the card that it is for. For a tiny one the estimate of what the backward pass needs stands beside
what torch keeps of a step of stage I.

python benchmarks/models.py --json models.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from _rows import Row, report, row
from rlco_datasets.contract import Contract, franka_compact, franka_third_person
from rlco_trainer.optimizers import Moments
from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.interface import Observation, Policy
from rlco_trainer.policies.memory import estimate
from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
from rlco_trainer.policies.openvla.tokens import action_ids
from rlco_trainer.policies.pi05.flow import sample_ode
from rlco_trainer.policies.pi05.policy import Pi05Policy
from rlco_trainer.policies.presets import PRESETS, new_policy, preset_named
from rlco_trainer.untrained import nominal_normalisation
from torch import Tensor

CARDS: dict[str, tuple[tuple[Moments, int, float], ...]] = {
    "pi05-3b": (("fp32", 32, 80.0), ("8bit", 8, 48.0), ("cpu", 8, 40.0)),
    "pi05-3b-24gb": (("fp32", 16, 24.0),),
    "openvla-7b": (("fp32", 16, 80.0),),
    "openvla-7b-24gb": (("fp32", 8, 24.0),),
}
"""Adam's moments, samples of a step, and the card (GB) that docs/models.md names for them."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure cached against uncached inference, and memory; prints a table."""

    rounds: int = 15
    """Timed inferences a side; medians are reported."""
    batch: int = 8
    """Observations an inference."""
    threads: int = 2
    """Torch threads."""
    json: Path | None = None
    """Where to write the rows."""


def observe(contract: Contract, batch: int) -> Observation:
    """Return random observations."""
    rng = np.random.default_rng(0)
    images = {
        camera.name: rng.integers(0, 255, (batch, camera.height, camera.width, 3), dtype=np.uint8)
        for camera in contract.cameras
    }
    state = rng.normal(size=(batch, contract.state_dim)).astype(np.float32)
    return Observation.from_numpy(images, state, ["put the red cube in the blue bowl"] * batch)


def alternated(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> list[float]:
    """Return the median milliseconds of both, timed in turn after one round to warm up."""
    spent: list[list[float]] = [[], []]
    for round_ in range(rounds + 1):
        for side, run in enumerate((ours, peer)):
            since = time.perf_counter()
            run()
            if round_:
                spent[side].append(1000 * (time.perf_counter() - since))
    return [statistics.median(times) for times in spent]


def decoding_as(large: str, tiny: str, contract: Contract, *fields: str) -> Policy:
    """Return the tiny preset with these fields of the large one's configuration."""
    preset = preset_named(tiny)
    theirs = preset_named(large).architecture()
    architecture = preset.architecture() | {name: theirs[name] for name in fields}
    normal = nominal_normalisation(contract)
    return build_policy(preset.family, contract, normal, architecture).eval()


@torch.no_grad()
def flow_times(contract: Contract, arguments: Arguments) -> list[float]:
    """Time pi05-tiny with the prefix read once, and read before every denoising step."""
    policy = decoding_as("pi05-3b", "pi05-tiny", contract, "denoising_steps")
    assert isinstance(policy, Pi05Policy)
    features = policy.encode(observe(contract, arguments.batch))
    start = torch.zeros(arguments.batch, contract.horizon, policy.config.action_dim)

    def uncached() -> None:
        sample_ode(
            lambda x, t: policy.flow(features)(x, t)[0], start, policy.config.denoising_steps
        )

    return alternated(lambda: policy.best_actions(features), uncached, arguments.rounds)


@torch.no_grad()
def token_times(contract: Contract, arguments: Arguments) -> list[float]:
    """Time openvla-tiny with a key-value cache, and with a whole pass for every token."""
    policy = decoding_as("openvla-7b", "openvla-tiny", contract, "decoding", "decision")
    assert isinstance(policy, OpenVlaPolicy)
    features = policy.encode(observe(contract, arguments.batch))
    first, end = action_ids(policy.config.vocabulary)

    def uncached() -> None:
        patches, tokens, mask = policy.read(features)
        chosen = torch.full((arguments.batch, 1), first)
        for _ in range(7 * contract.horizon):
            logits = policy.network.logits(patches, tokens, mask, chosen)[:, -1]
            if logits.shape[1] > end - first:  # of the whole vocabulary
                logits = logits[:, first:end]
            chosen = torch.cat([chosen, first + logits.argmax(1, keepdim=True)], 1)

    return alternated(lambda: policy.best_actions(features), uncached, arguments.rounds)


def memory_rows(batch: int) -> list[Row]:
    """Return what a step takes: large presets beside their cards, tiny ones as torch counts it."""
    rows = []
    contract = franka_third_person()
    for name, cards in CARDS.items():
        for moments, samples, card_gb in cards:
            preset = PRESETS[name]
            architecture = preset.architecture()
            needed = estimate(preset.family, architecture, contract, samples, moments=moments)
            told = f"{name}: memory of a step of {samples}, {moments} moments; peer: the card"
            rows.append(row(told, needed.total_gb, card_gb, "GB", 1))
    for name in ("pi05-tiny", "openvla-tiny"):
        policy = new_policy(name, franka_compact(), nominal_normalisation(franka_compact()))
        preset = PRESETS[name]
        needed = estimate(preset.family, preset.architecture(), policy.contract, batch)
        told = f"{name}: activations of a step of {batch}, estimate; peer: counted"
        rows.append(row(told, 1000 * needed.activations_gb, kept_mb(policy, batch), "MB", 1))
    return rows


def kept_mb(policy: Policy, batch: int) -> float:
    """Return the MB of tensors that torch keeps for the backward pass of a supervised step."""
    weights = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    contract = policy.contract
    features = policy.encode(observe(contract, batch))
    actions = torch.zeros(batch, contract.horizon, 7)
    mask = torch.ones(batch, contract.horizon, dtype=torch.bool)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = policy.train().sft_loss(features, actions, mask)["loss"]
    assert loss.requires_grad
    return sum(kept.values()) / 1e6


def main(arguments: Arguments) -> None:
    """Measure, print and write."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    contract = franka_compact()
    found = {
        "pi05-tiny: a chunk, prefix read once against every denoising step": flow_times,
        "openvla-tiny: a chunk, key-value cache against whole passes": token_times,
    }
    rows = []
    for name, measure in found.items():
        ours, peer = measure(contract, arguments)
        rows.append(row(name, ours, peer, "ms", arguments.rounds))
    report([*rows, *memory_rows(arguments.batch)], arguments.json)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
