"""Where and in which arithmetic the learner computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from rlco_trainer.data import Part, tensors
from rlco_trainer.policies.interface import Features, Observation

Precision = Literal["fp32", "bf16"]
MEASURED_AT_ONCE = 256


class Supervised(Protocol):
    """What has a supervised loss: a `Policy`, or its trunk under a regression head."""

    def encode(self, observation: Observation) -> Features:
        """See `Policy.encode`."""
        ...

    def sft_loss(self, features: Features, actions: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """See `Policy.sft_loss`."""
        ...


class DeviceError(ValueError):
    """The device asked for is not there."""


def require_device(name: str) -> torch.device:
    """Return the torch device `name`.

    Raises:
        DeviceError: if torch does not know it or this machine lacks it.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r}: {error}. Use cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device {name!r}: this torch ({torch.__version__}) sees no GPU. Use --device cpu, or "
            "install a CUDA build of torch (make setup TORCH_INDEX=URL)."
        )
    return device


def autocast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """Return the context of a forward pass; master weights stay in fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


@torch.no_grad()
def supervised_loss(policy: Supervised, parts: Sequence[Part], device: str) -> float:
    """Return the mean supervised loss over every step of `parts`, without augmentation."""
    total, count = 0.0, 0
    for part in parts:
        rows = np.arange(len(part.source))
        for chosen in np.array_split(rows, 1 + len(rows) // MEASURED_AT_ONCE):
            observation, actions, mask = tensors(part.source.batch(chosen))
            features = policy.encode(observation.to(device))
            terms = policy.sft_loss(features, actions.to(device), mask.to(device))
            total += float(terms["loss"]) * len(chosen)
            count += len(chosen)
    return total / count
