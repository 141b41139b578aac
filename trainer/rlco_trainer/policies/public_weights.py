"""Public checkpoints into our modules: every tensor accounted for, or an error that names it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

NAMED = 12
"""Names that an error lists of each kind."""


class WeightsError(ValueError):
    """A public checkpoint cannot be read, or does not fit the architecture."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file, or of every one in a folder.

    Raises:
        WeightsError: if there is none, one is damaged, or two hold the same name.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise WeightsError(f"{path}: no safetensors file there. Give a downloaded model's folder.")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            part = load_file(file)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file}: cannot be read ({error}); download it again") from error
        twice = sorted(set(part) & set(tensors))
        if twice:
            raise WeightsError(f"{file}: {twice[0]} is in another file of {path} too")
        tensors |= part
    return tensors


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], *, where: str) -> None:
    """Copy `tensors` into the module's parameters, converting their number format.

    Raises:
        WeightsError: naming missing, unexpected and misshapen tensors.
    """
    wanted = dict(module.named_parameters())
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)}, not {tuple(parameter.shape)}"
        for name, parameter in wanted.items()
        if name in tensors and tensors[name].shape != parameter.shape
    ]
    problems = [
        f"{kind}: {', '.join(names[:NAMED])}"
        + (f" and {len(names) - NAMED} more" * (len(names) > NAMED))
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"{where}: the tensors do not fit. {'; '.join(problems)}. Choose the preset of that "
            "checkpoint's architecture, and a contract with its image size."
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])
