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
    """Read a sim result: a JSON object with `n`, and `success` as a count (int) or share (float).

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
    n = data.get("n") if isinstance(data, dict) else None
    success = data.get("success") if isinstance(data, dict) else None
    if isinstance(success, float) and isinstance(n, int):
        count = round(success * n)
        if abs(count - success * n) > 1e-3 * max(n, 1):
            raise SimulationError(f"{path}: success {success} is not a share of n = {n} episodes")
        success = count
    if type(n) is not int or type(success) is not int or not 0 <= success <= n or n < 1:
        raise SimulationError(
            f"{path}: expected n >= 1 and 0 <= success <= n, got n = {n!r}, success = {success!r}"
        )
    return SimulationResult(successes=success, n=n, wilson=rate_interval(success, n))
