"""The rows of every benchmark: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: medians or percentiles of `n` measurements, ours beside the peer's."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    better: Better
    n: int


def row(name: str, ours: float, peer: float, unit: str, n: int, *, better: Better = "lower") -> Row:
    """Return a row; its ratio is ours over the peer's."""
    ours, peer = float(ours), float(peer)
    return Row(name=name, ours=ours, peer=peer, ratio=ours / peer, unit=unit, better=better, n=n)


def report(rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows as a table, and write them to `path` where there is one."""
    width = max(len(line.name) for line in rows)
    print(f"{'':{width}} {'ours':>11} {'peer':>11} {'':14} {'ratio':>8}  better")
    for line in rows:
        print(
            f"{line.name:{width}} {line.ours:11.4g} {line.peer:11.4g} {line.unit:14} "
            f"{line.ratio:8.3f}  {line.better}"
        )
    if path is not None:
        path.write_text(json.dumps([asdict(line) for line in rows], indent=1) + "\n", "utf-8")
