"""A training run as a folder: configuration, metrics, lineage, final checkpoint, resume state.

`config.yaml`, `metrics.jsonl` (one JSON object a line: `step`, `wall_s`, scalars), `tensorboard/`,
`run.json` (what went in and what came out), `checkpoint/` (final) and `state/` (to go on).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlco_datasets import spec
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from rlco_trainer.atomic import write_text

if TYPE_CHECKING:
    from rlco_trainer.tracking import Tracker

CONFIG, METRICS, LINEAGE = "config.yaml", "metrics.jsonl", "run.json"
CHECKPOINT, STATE, TENSORBOARD = "checkpoint", "state", "tensorboard"
BEST, LAST = "best", "last"


class RunError(ValueError):
    """A run folder cannot be used for this run."""


def claim(out: Path, config: Any) -> None:
    """Make `out` the folder of a run with `config`, or go on in it if it is already.

    Raises:
        RunError: if the folder holds something else, or a run with another configuration.
    """
    path = out / CONFIG
    if path.is_file():
        earlier = spec.load(type(config), path)
        differences = spec.diff(earlier, config)
        if differences:
            raise RunError(
                f"{out}: holds a run with another configuration "
                f"({'; '.join(str(d) for d in differences)}). Use another --out, or its values."
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: is not empty and holds no {CONFIG}. Use another --out.")
    spec.save(config, path)


class RunLog:
    """Scalars of a run: JSON lines, TensorBoard and a progress bar, from `first_step` on."""

    def __init__(
        self,
        out: Path,
        *,
        title: str,
        first_step: int,
        total_steps: int,
        tracker: Tracker | None = None,
    ) -> None:
        """Drop the lines after `first_step`, which a killed run wrote but did not keep."""
        self._path = out / METRICS
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step_of(line) <= first_step]
        write_text(self._path, "".join(line + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._elapsed_s = json.loads(kept[-1])["wall_s"] if kept else 0.0
        self._start_s = time.monotonic()
        self._board = SummaryWriter(str(out / TENSORBOARD), purge_step=first_step + 1)
        self._tracker = tracker
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            desc=title,
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
            dynamic_ncols=True,
        )

    @property
    def wall_s(self) -> float:
        """Seconds of work in this run, over all its processes."""
        return self._elapsed_s + time.monotonic() - self._start_s

    def advance(self, steps: int = 1, **shown: float) -> None:
        """Move the progress bar and show a few numbers beside it."""
        if shown:
            text = " ".join(f"{name} {value:.3g}" for name, value in shown.items())
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(steps)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Append one line of scalars, and the same to TensorBoard."""
        row = {"step": step, "wall_s": round(self.wall_s, 3), **scalars}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        if self._tracker is not None:
            self._tracker.log(step, scalars)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._board.close()
        self._file.close()
        if self._tracker is not None:
            self._tracker.close()


def _step_of(line: str) -> float:
    """Return the step of a metrics line; infinity for a line that a kill cut short."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")


def read_metrics(out: Path) -> list[dict[str, float]]:
    """Return the rows of a run's `metrics.jsonl`."""
    text = (out / METRICS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def write_lineage(out: Path, lineage: dict[str, Any]) -> None:
    """Write `run.json`."""
    write_text(out / LINEAGE, json.dumps(lineage, indent=2) + "\n")
