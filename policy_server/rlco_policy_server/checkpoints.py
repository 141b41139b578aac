"""Checkpoint folders into served policies: the only module of the server that meets the trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from rlco_datasets import spec
from rlco_trainer import checkpoint

from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.references import CheckpointReferenceError


def load_checkpoints(folders: dict[str, Path], *, torch_threads: int) -> list[ServedPolicy]:
    """Load every checkpoint, on `torch_threads` CPU threads.

    Raises:
        CheckpointReferenceError: naming the folder that is missing or not a checkpoint.
    """
    torch.set_num_threads(torch_threads)
    served = []
    for alias, folder in folders.items():
        try:
            loaded = checkpoint.load_policy(folder)
        except (ValueError, OSError) as error:
            raise CheckpointReferenceError(str(error)) from error
        served.append(
            ServedPolicy(
                alias=alias,
                policy=loaded.policy,
                policy_id=loaded.checkpoint_id,
                normalisation_id=spec.content_hash(loaded.card.normalisation),
            )
        )
    return served
