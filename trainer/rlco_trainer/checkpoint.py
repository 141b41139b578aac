"""Checkpoints: a folder with `model.safetensors` and `checkpoint.yaml`, and nothing to execute.

The YAML carries everything that gives the weights their meaning: family and architecture, the
contract in full, the normalisation, and where the weights came from.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rlco_datasets import spec
from rlco_datasets.contract import Contract, require_same_contract
from rlco_datasets.statistics import Normalisation
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlco_trainer.atomic import replaced_folder, restored_folder
from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.interface import Policy

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
CARD = "checkpoint.yaml"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of a kind that this software does not know."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a checkpoint's weights came from; "" or () where there is nothing to name."""

    stage: Literal["init", "stage1", "stage2"]
    stores: tuple[str, ...] = ()
    """`real:` or `sim:`, the store's path and its number of episodes."""
    twin_id: str = ""
    parent_checkpoint: str = ""
    config_hash: str = ""
    software_version: str = ""
    task: str = ""
    step: int = 0
    """Optimizer steps (stage I) or iterations (stage II) behind the weights."""


@dataclass(frozen=True, kw_only=True)
class CheckpointCard:
    """The content of `checkpoint.yaml`."""

    format_version: int
    family: str
    architecture: dict[str, Any]
    contract: Contract
    normalisation: Normalisation
    lineage: Lineage
    metrics: dict[str, float] = field(default_factory=dict)
    """What was measured on these weights, e.g. `validation_success`."""


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A policy in evaluation mode, its card and its content hash."""

    policy: Policy
    card: CheckpointCard
    checkpoint_id: str


def save_policy(
    path: str | os.PathLike[str],
    policy: Policy,
    lineage: Lineage,
    metrics: dict[str, float] | None = None,
    *,
    architecture: dict[str, Any] | None = None,
) -> str:
    """Write a checkpoint folder in one step and return its content hash.

    `architecture` replaces the policy's own: an export refers to the tokenizer in its folder.
    """
    card = CheckpointCard(
        format_version=FORMAT_VERSION,
        family=policy.family,
        architecture=policy.architecture() if architecture is None else architecture,
        contract=policy.contract,
        normalisation=policy.normalisation,
        lineage=lineage,
        metrics=metrics or {},
    )
    path = Path(path)
    with replaced_folder(path) as folder:
        tensors = {k: v.detach().contiguous().cpu() for k, v in policy.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
        spec.save(card, folder / CARD)
    return checkpoint_id(path)


def checkpoint_id(path: str | os.PathLike[str]) -> str:
    """Return the first 16 hex digits of the SHA-256 over the card and the tensors."""
    digest = hashlib.sha256()
    for name in (CARD, WEIGHTS):
        content = (Path(path) / name).read_bytes()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[: spec.HASH_LENGTH]


def read_card(path: str | os.PathLike[str]) -> CheckpointCard:
    """Read what a checkpoint is, without its weights.

    Raises:
        CheckpointError: if the folder is no checkpoint, or of an unknown version or family.
    """
    path = restored_folder(Path(path))
    missing = [name for name in (CARD, WEIGHTS) if not (path / name).is_file()]
    if missing:
        what = f"lacks {' and '.join(missing)}" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"{path}: this checkpoint folder {what}. Give the folder that `rlco-train` wrote, "
            "usually <run>/checkpoint."
        )
    try:
        card = spec.load(CheckpointCard, path / CARD)
    except spec.SpecError as error:
        raise CheckpointError(f"{error} The checkpoint was written by another version?") from error
    if card.format_version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path / CARD}: format version {card.format_version} is unknown; this software reads "
            f"{FORMAT_VERSION}. Use the rlco that wrote it ({card.lineage.software_version})."
        )
    return card


def load_policy(path: str | os.PathLike[str], contract: Contract | None = None) -> LoadedCheckpoint:
    """Load a checkpoint for inference or as the start of a stage.

    Args:
        path: the checkpoint folder.
        contract: what the caller speaks; None takes the checkpoint's own.

    Raises:
        CheckpointError: if the folder is no checkpoint, or its weights do not fit its card.
        ContractMismatchError: if the checkpoint speaks another contract than `contract`.
    """
    card = read_card(path)
    path = Path(path)
    if contract is not None:
        require_same_contract(contract, card.contract, where=f"checkpoint {path}")
    try:
        architecture = _with_own_tokenizer(card.architecture, path)
        policy = build_policy(card.family, card.contract, card.normalisation, architecture)
    except (spec.SpecError, ValueError) as error:
        raise CheckpointError(f"{path / CARD}: {error}") from error
    try:
        tensors = load_file(path / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path / WEIGHTS}: cannot be read ({error}). The file is damaged or truncated; "
            "copy the checkpoint again, or train it again."
        ) from error
    load_weights(policy, tensors, where=str(path / WEIGHTS))
    return LoadedCheckpoint(policy=policy.eval(), card=card, checkpoint_id=checkpoint_id(path))


def _with_own_tokenizer(architecture: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the architecture with the tokenizer that lies in the checkpoint, if one does."""
    named = architecture.get("tokenizer", "")
    if named and (path / named).is_dir():
        return architecture | {"tokenizer": str(path / named)}
    return architecture


def load_weights(policy: Policy, tensors: dict[str, torch.Tensor], *, where: str) -> None:
    """Copy `tensors` into `policy`.

    Raises:
        CheckpointError: naming every missing, unknown or misshapen tensor.
    """
    wanted = policy.state_dict()
    problems = [f"missing {name}" for name in wanted if name not in tensors]
    problems += [f"unknown {name}" for name in tensors if name not in wanted]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        raise CheckpointError(
            f"{where}: the weights do not fit the architecture in {CARD}: {'; '.join(problems)}. "
            "The two files belong to different checkpoints."
        )
    policy.load_state_dict(tensors)
