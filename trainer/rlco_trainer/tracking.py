"""A run's scalars on Weights & Biases, for those who ask for it; the run folder has them anyway."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from rlco_datasets import spec

from rlco_trainer.atomic import write_text
from rlco_trainer.run_folder import RunError

RUN_ID = "wandb_id"


class Tracker(Protocol):
    """Somewhere else that scalars go."""

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Take the scalars of a step; steps of a resumed run may come again."""

    def close(self) -> None:
        """Send what is left."""


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Where else a run is logged; it decides nothing about what is learnt."""

    wandb: str = ""
    """Weights & Biases project to log to; empty: none. Needs the extra `wandb`."""
    wandb_mode: Literal["online", "offline"] = "online"
    """`offline` keeps everything in OUT/wandb, to be sent later with `wandb sync`."""

    def require(self) -> None:
        """Check that what is asked for is installed.

        Raises:
            RunError: if it is not.
        """
        if self.wandb:
            _wandb()

    def open(self, out: Path, config: Any, *, stage: str) -> Tracker | None:
        """Start, or go on with, the log of the run in `out`; None if none is asked for.

        Raises:
            RunError: if the library is not installed or refuses.
        """
        return WandbTracker(self, out, config, stage=stage) if self.wandb else None


NO_TRACKING = TrackingOptions()


class WandbTracker:
    """One run of a Weights & Biases project; the same one when a killed run goes on."""

    def __init__(self, options: TrackingOptions, out: Path, config: Any, *, stage: str) -> None:
        """Start or resume the run."""
        wandb = _wandb()
        path = out / RUN_ID
        if not path.is_file():
            write_text(path, uuid.uuid4().hex[:12])
        try:
            self._run = wandb.init(
                project=options.wandb,
                id=path.read_text(encoding="utf-8").strip(),
                name=out.name,
                job_type=stage,
                config=spec.to_plain(config),
                dir=str(out),
                mode=options.wandb_mode,
                resume="allow",
            )
        except (OSError, ValueError, wandb.Error) as error:
            raise RunError(
                f"{out}: Weights & Biases did not start ({error}). Log in (`wandb login`), use "
                "--tracking.wandb-mode offline, or leave --tracking.wandb out."
            ) from error

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Send the scalars of a step."""
        self._run.log(scalars, step=step)

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def _wandb() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise RunError(
            f"--tracking.wandb asks for Weights & Biases, which is not installed ({error}): "
            "pip install 'rlco-trainer[wandb]', or leave the option out; the run folder has "
            "metrics.jsonl and TensorBoard in any case."
        ) from error
    module: ModuleType = wandb
    return module
