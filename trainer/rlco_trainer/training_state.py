"""What a run needs to go on after a kill, as plain tensors and JSON: no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlco_trainer.atomic import replaced_folder, restored_folder

TENSORS = "state.safetensors"
VALUES = "state.json"


class StateError(ValueError):
    """A run's resume state is damaged."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Named tensors (weights, moments, generators) and JSON values (counters, sampler state)."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose name starts with `prefix/`, without it."""
        return unprefixed(prefix, self.tensors)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors under `prefix/name`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose name starts with `prefix/`, without it."""
    start = prefix + "/"
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace `folder` by `state` in one step."""
    with replaced_folder(folder) as partial:
        tensors = {k: v.detach().clone().contiguous().cpu() for k, v in state.tensors.items()}
        save_file(tensors, partial / TENSORS)
        (partial / VALUES).write_text(json.dumps(state.values), encoding="utf-8")


def load_state(folder: Path) -> TrainingState | None:
    """Return the saved state, or None where the run has not saved one yet.

    Raises:
        StateError: if the files are there but cannot be read.
    """
    restored_folder(folder)
    if not folder.is_dir():
        return None
    try:
        return TrainingState(
            tensors=load_file(folder / TENSORS),
            values=json.loads((folder / VALUES).read_text(encoding="utf-8")),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise StateError(
            f"{folder}: the resume state is damaged ({error}). Delete the folder to start the run "
            "from its beginning."
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's moments, named by parameter position."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{name}": value for i, moments in state.items() for name, value in moments.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; hyper-parameters stay as constructed."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        position, moment = name.split("/", 1)
        state.setdefault(int(position), {})[moment] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
