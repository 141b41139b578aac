"""A checkpoint as a folder that stands alone: for another machine, another lab, an archive.

It is itself a checkpoint, which `rlco-serve`, `rlco-train eval` and both stages read, and has
beside the weights and the card:

    README.md            what it is, its hashes, how to serve it
    contract.yaml        what observations and actions mean
    normalisation.yaml   statistics of the demonstrations
    export.yaml          where it came from and what was changed
    expected.safetensors fixed inputs, and the actions that the source chose for them
    tokenizer/           where the family needs more than the built-in one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import Contract
from safetensors.numpy import load_file, save_file
from torch import Tensor

from rlco_trainer import __version__
from rlco_trainer.atomic import replaced_folder, write_text
from rlco_trainer.checkpoint import (
    CheckpointError,
    LoadedCheckpoint,
    checkpoint_id,
    load_policy,
    load_weights,
    save_policy,
)
from rlco_trainer.export_card import readme
from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.interface import Policy
from rlco_trainer.run_folder import BEST, CHECKPOINT, LAST, STATE
from rlco_trainer.training_state import load_state

Weights = Literal["final", "best", "last", "averaged", "raw"]
Stored = Literal["fp32", "bf16"]

RECORD, EXPECTED, README, TOKENIZER = (
    *("export.yaml", "expected.safetensors"),
    *("README.md", "tokenizer"),
)
INPUTS, INPUT_SEED = 6, 20_260_212
BASE, ADAPTER = ".base_layer.", ".lora_"
EXACT, MERGED, ROUNDED = 1e-5, 1e-3, 0.1
"""Largest typical difference of an action, in stds of the demonstrations: of weights that were
kept, of adapters added to the weights, of weights rounded to bfloat16."""


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """The content of `export.yaml`."""

    source_checkpoint_id: str
    weights: Weights
    """Which of a run's weights."""
    stored: Stored
    """Number format on disk; loaded weights are as the architecture says."""
    merged_adapters: int
    """Layers whose low-rank adapter was added to their weights."""
    tolerance: float
    """What `verify` allows of a typical action, in stds of the demonstrations."""
    software_version: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How the actions of a loaded export differ from the source's, in stds of the demonstrations.

    `typical` is the median over fixed inputs of the largest difference in a chunk; `largest` the
    largest of all. A family of tokens may choose the neighbouring bin here and there.
    """

    typical: float
    largest: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether typical actions are the same."""
        return self.typical <= self.tolerance

    def __str__(self) -> str:
        """Return it for people."""
        verdict = "the same actions" if self.passed else "OTHER ACTIONS"
        return (
            f"{verdict}: typically {self.typical:.2g}, at most {self.largest:.2g} stds of the "
            f"demonstrations apart (allowed: {self.tolerance:g})"
        )


def export(
    source: Path,
    out: Path,
    *,
    weights: Weights = "final",
    stored: Stored = "fp32",
    merge: bool = True,
) -> str:
    """Write the folder and return its checkpoint id.

    Args:
        source: a checkpoint folder, or a run folder.
        out: the folder to write; an earlier export there is replaced.
        weights: which of a run's: its `checkpoint`, `best` or `last` folder, or of its state the
            running average (EMA) or the raw weights of the last step.
        stored: number format on disk; bf16 halves the file and rounds the weights.
        merge: add low-rank adapters to the weights that they adapt.

    Raises:
        CheckpointError: if there is no such checkpoint, or `out` is something else.
    """
    if out.exists() and not (out / RECORD).is_file():
        raise CheckpointError(f"{out}: exists and is no export. Choose another --out.")
    loaded = _chosen(source, weights)
    inputs = fixed_inputs(loaded.card.contract)
    expected = actions_of(loaded.policy, inputs)
    policy, merged = without_adapters(loaded.policy) if merge else (loaded.policy, 0)
    tolerance = ROUNDED if stored == "bf16" else MERGED if merged else EXACT
    record = ExportRecord(
        source_checkpoint_id=loaded.checkpoint_id,
        weights=weights,
        stored=stored,
        merged_adapters=merged,
        tolerance=tolerance,
        software_version=__version__,
    )
    if stored == "bf16":
        for parameter in policy.parameters():  # not buffers: they hold units and limits
            parameter.data = parameter.data.to(torch.bfloat16)
    with replaced_folder(out) as folder:
        inner = folder / "inner"
        card = replace(loaded.card, architecture=_packed(policy, folder))
        save_policy(inner, policy, card.lineage, dict(card.metrics), architecture=card.architecture)
        for file in inner.iterdir():
            file.rename(folder / file.name)
        inner.rmdir()
        spec.save(card.contract, folder / "contract.yaml")
        spec.save(card.normalisation, folder / "normalisation.yaml")
        spec.save(record, folder / RECORD)
        save_file(_flat(inputs) | {"actions": expected}, folder / EXPECTED)
        identity = checkpoint_id(folder)
        write_text(folder / README, readme(folder, card, spec.to_plain(record), identity))
    return identity


def verify(folder: Path) -> Verification:
    """Load an export again, and compare its actions on the fixed inputs with the source's.

    Raises:
        CheckpointError: if the folder is no export or damaged.
    """
    loaded = load_policy(folder)
    if not all((folder / name).is_file() for name in (RECORD, EXPECTED)):
        raise CheckpointError(f"{folder}: lacks {RECORD} or {EXPECTED}: it is no export")
    record = spec.load(ExportRecord, folder / RECORD)
    kept = load_file(folder / EXPECTED)
    names = loaded.card.contract.camera_names
    inputs = {"state": kept["state"], "images": {name: kept[f"image/{name}"] for name in names}}
    got = actions_of(loaded.policy, inputs)
    std = np.array(loaded.card.normalisation.action_std)
    apart = np.abs(got - kept["actions"]) / np.maximum(std, 1e-3)
    chunks = apart.reshape(len(apart), -1).max(axis=1)
    return Verification(
        typical=float(np.median(chunks)), largest=float(chunks.max()), tolerance=record.tolerance
    )


def fixed_inputs(contract: Contract) -> dict[str, Any]:
    """Return the inputs that exports are compared on: smooth random images, plausible states."""
    rng = np.random.default_rng(INPUT_SEED)
    images = {}
    for camera in contract.cameras:
        coarse = rng.integers(0, 256, (INPUTS, 8, 8, 3)).astype(np.float32)
        fine = torch.nn.functional.interpolate(
            torch.from_numpy(coarse).permute(0, 3, 1, 2),
            size=(camera.height, camera.width),
            mode="bilinear",
            align_corners=False,
        )
        images[camera.name] = fine.permute(0, 2, 3, 1).round().to(torch.uint8).numpy().copy()
    state = np.zeros((INPUTS, contract.state_dim), np.float32)
    state[:, :3] = rng.uniform((0.4, -0.2, 0.05), (0.6, 0.2, 0.3), (INPUTS, 3))
    state[:, 3], state[:, 7] = 1.0, -1.0  # tool straight down
    state[:, 9:] = rng.uniform(0.0, 0.08, (INPUTS, contract.state_dim - 9))
    return {"images": images, "state": state}


def actions_of(policy: Policy, inputs: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the `(6, horizon, 7)` chunks that a policy chooses for the fixed inputs."""
    instructions = [f"do task {number}" for number in range(INPUTS)]
    return policy.eval().infer(inputs["images"], inputs["state"], instructions)


def _flat(inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    images = {f"image/{name}": value for name, value in inputs["images"].items()}
    return images | {"state": inputs["state"]}


def _chosen(source: Path, weights: Weights) -> LoadedCheckpoint:
    """Load the weights that are asked for, of a run or of a checkpoint."""
    if not (source / CHECKPOINT).is_dir():
        if weights != "final":
            raise CheckpointError(
                f"{source}: weights {weights!r} are those of a run; give the run's folder, or "
                "leave --weights out"
            )
        return load_policy(source)
    if weights in ("final", "best", "last"):
        name = {"final": CHECKPOINT, "best": BEST, "last": LAST}[weights]
        return load_policy(source / name)
    loaded, state = load_policy(source / CHECKPOINT), load_state(source / STATE)
    tensors = {} if state is None else state.part("average" if weights == "averaged" else "policy")
    if not tensors:
        raise CheckpointError(
            f"{source}: its state holds no {weights} weights. Averages are kept by stage I with "
            "--config.ema-decay; choose --weights final otherwise."
        )
    load_weights(loaded.policy, tensors, where=str(source / STATE))
    return loaded


def without_adapters(policy: Policy) -> tuple[Policy, int]:
    """Return the policy with low-rank adapters added to its weights, and how many there were.

    `W + alpha / rank * B A` (arXiv 2106.09685, section 4.1), computed in float32.
    """
    tensors = policy.state_dict()
    adapted = [name for name in tensors if name.endswith(f"{BASE}weight")]
    if not adapted:
        return policy, 0
    architecture = policy.architecture()
    lora = architecture["lora"]
    scale = lora["alpha"] / lora["rank"]
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ADAPTER in name:
            continue
        value = tensor.float() if tensor.is_floating_point() else tensor
        if name in adapted:
            layer = name.removesuffix(f"{BASE}weight")
            a, b = (tensors[f"{layer}.lora_{x}.default.weight"].float() for x in "AB")
            value = value + scale * (b @ a)
        plain[name.replace(BASE, ".")] = value
    # bfloat16 weights are for what is never trained; without adapters all weights could be.
    bare = architecture | {"lora": lora | {"rank": 0}, "precision": "float32"}
    merged = build_policy(policy.family, policy.contract, policy.normalisation, bare)
    load_weights(merged, plain, where="the weights with their adapters added")
    return merged.eval(), len(adapted)


def _packed(policy: Policy, folder: Path) -> dict[str, Any]:
    """Put a pretrained tokenizer into the folder; return the architecture that refers to it."""
    architecture = policy.architecture()
    inner = getattr(getattr(policy, "tokenizer", None), "inner", None)
    if inner is None:
        return architecture
    inner.save_pretrained(str(folder / TOKENIZER))
    return architecture | {"tokenizer": TOKENIZER}
