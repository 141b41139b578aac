"""Sim evaluation results, as the report shows them beside the lab's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlco_evaluation.statistics import Interval, rate_interval


class SimulationError(ValueError):
    """A sim result file is missing or malformed."""


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """Successes of one policy in its training twin."""

    successes: int
    n: int
    wilson: Interval

    @property
    def rate(self) -> float:
        """The success rate."""
        return self.successes / self.n


def load(path: Path) -> SimulationResult:
    """Read what `rlco-train eval` wrote: a JSON object with `successes` and `episodes`.

    Raises:
        SimulationError: if it cannot be read or the numbers are impossible.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SimulationError(
            f"{path}: cannot read this sim result ({error.strerror}). Check the path."
        ) from error
    except ValueError as error:
        raise SimulationError(f"{path}: not JSON ({error})") from error
    fields = data if isinstance(data, dict) else {}
    successes, n = fields.get("successes"), fields.get("episodes")
    if type(n) is not int or type(successes) is not int or not 0 <= successes <= n or n < 1:
        raise SimulationError(
            f"{path}: expected 0 <= successes <= episodes and episodes >= 1, "
            f"got {successes!r} of {n!r}"
        )
    return SimulationResult(successes=successes, n=n, wilson=rate_interval(successes, n))
