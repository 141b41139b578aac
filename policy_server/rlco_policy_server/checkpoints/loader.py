"""References into served policies: a checkpoint folder, or `name@hash` from a model store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rlco_datasets import spec
from rlco_trainer import checkpoint
from rlco_trainer.precision import DeviceError, Precision, require_device

from rlco_policy_server.checkpoints.torch_policy import torch_policy
from rlco_policy_server.model_store import REFERENCE, ModelStore
from rlco_policy_server.policies import MAX_BATCH, ServedPolicy
from rlco_policy_server.references import CheckpointReferenceError


@dataclass(frozen=True, kw_only=True)
class CheckpointLoader:
    """How checkpoints are loaded."""

    model_store: ModelStore | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    compiled: bool = False
    """Compile policies with torch.compile, on a GPU into CUDA graphs."""
    max_batch: int = MAX_BATCH

    def load(self, alias: str, reference: str) -> ServedPolicy:
        """Return the policy of `reference` under `alias`.

        Raises:
            CheckpointReferenceError: naming what is missing, damaged or not a checkpoint.
        """
        folder, expected = self._find(reference)
        try:
            device = require_device(self.device)
            loaded = checkpoint.load_policy(folder)
        except (ValueError, OSError, DeviceError) as error:
            raise CheckpointReferenceError(str(error)) from error
        if expected is not None and loaded.checkpoint_id != expected:
            raise CheckpointReferenceError(
                f"{folder} holds checkpoint {loaded.checkpoint_id}, not what its name says: it was "
                "damaged or changed. Remove it and add the checkpoint again"
            )
        return ServedPolicy(
            alias=alias,
            policy=torch_policy(
                loaded.policy.to(device),
                precision=self.precision,
                compiled=self.compiled,
                max_batch=self.max_batch,
            ),
            policy_id=loaded.checkpoint_id,
            normalisation_id=spec.content_hash(loaded.card.normalisation),
            reference=reference,
            device=str(device),
            max_batch=self.max_batch,
        )

    def _find(self, reference: str) -> tuple[Path, str | None]:
        folder = Path(reference)
        if folder.exists() or REFERENCE.fullmatch(reference) is None:
            return folder, None
        if self.model_store is None:
            raise CheckpointReferenceError(
                f"{reference} is a reference into a model store; say where that is: --model-store "
                "DIR"
            )
        return self.model_store.find(reference)


def load_checkpoints(
    references: Mapping[str, str | Path],
    *,
    torch_threads: int,
    loader: CheckpointLoader | None = None,
) -> list[ServedPolicy]:
    """Load every `{alias: reference}`, on `torch_threads` CPU threads.

    Raises:
        CheckpointReferenceError: naming what is missing, damaged or not a checkpoint.
    """
    torch.set_num_threads(torch_threads)
    loader = loader or CheckpointLoader()
    return [loader.load(alias, str(reference)) for alias, reference in references.items()]


def add_to_store(store: ModelStore, folder: Path, name: str) -> str:
    """Copy a checkpoint folder into `store`, once it was seen to load; return `name@hash`.

    Raises:
        CheckpointReferenceError: if it is no checkpoint, or the name is none.
    """
    try:
        loaded = checkpoint.load_policy(folder)
    except (ValueError, OSError) as error:
        raise CheckpointReferenceError(str(error)) from error
    return store.add(folder, name=name, checkpoint_id=loaded.checkpoint_id)
