"""The options that say how checkpoints are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rlco_policy_server.model_store import ModelStore
from rlco_policy_server.policies import MAX_BATCH

if TYPE_CHECKING:
    from rlco_policy_server.checkpoints import CheckpointLoader


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Where policies come from and how they compute."""

    model_store: Path | None = None
    """The folder that NAME@HASH references look in; `rlco-serve models` fills it."""
    device: str = "cpu"
    """Where policies compute: cpu, cuda or cuda:N."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """The arithmetic of inference; bf16 is for GPUs."""
    compile: bool = False
    """Compile policies with torch.compile, on a GPU into CUDA graphs; takes minutes at start."""
    max_batch: int = MAX_BATCH
    """How many sessions one call of a policy may answer."""
    torch_threads: int = 1
    """CPU threads of one inference."""

    def loader(self) -> CheckpointLoader:
        """Return the loader; imports torch."""
        import torch

        from rlco_policy_server.checkpoints import CheckpointLoader

        torch.set_num_threads(self.torch_threads)
        return CheckpointLoader(
            model_store=None if self.model_store is None else ModelStore(folder=self.model_store),
            device=self.device,
            precision=self.precision,
            compiled=self.compile,
            max_batch=self.max_batch,
        )
