"""`rlco-data`: look at episode stores and contracts."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rlco_datasets import spec
from rlco_datasets.check import check_store
from rlco_datasets.contract import BUILT_IN, Contract, load_contract
from rlco_datasets.store import EpisodeStore
from rlco_datasets.store_folder import read_contract


@dataclass(frozen=True, kw_only=True)
class Info:
    """Print what an episode store holds; changes nothing.

    In: a store's folder. Out: a table on stdout. Example: rlco-data info data/real
    """

    path: tyro.conf.Positional[Path]
    """Folder of the episode store."""

    def run(self) -> int:
        """Print the table."""
        store = EpisodeStore.open(self.path)
        contract = store.contract
        minutes = store.steps_total * contract.period_s / 60
        size_mb = sum(p.stat().st_size for p in self.path.rglob("*") if p.is_file()) / 1e6
        cameras = ", ".join(f"{c.name} {c.width}x{c.height}" for c in contract.cameras)
        lengths = store.lengths
        span = f" ({lengths.min()} to {lengths.max()} an episode)" if len(store) else ""
        rows = {
            "store": str(self.path),
            "contract": f"{contract.name} {contract.id}",
            "cameras": cameras,
            "episodes": str(len(store)),
            "steps": f"{store.steps_total}{span}",
            "time": f"{minutes / 60:.2f} h ({minutes:.1f} min) at {contract.control_rate_hz:g} Hz",
            "size": f"{size_mb:.1f} MB",
        }
        metadata = [store.metadata(index) for index in range(len(store))]
        for field in ("source", "task", "instruction", "outcome", "operator", "twin_id"):
            rows[field] = _counts(getattr(item, field) or "none" for item in metadata)
        rows["software"] = _counts(item.software_version for item in metadata)
        rows["flags"] = _counts(flag for item in metadata for flag in item.flags)
        rows["tail"] = str(store.tail or "none")
        for name, value in rows.items():
            print(f"{name:<12} {value}")
        if store.tail is not None:
            print("             (left by an interrupted append; the next writer removes it)")
        return 0


@dataclass(frozen=True, kw_only=True)
class Check:
    """Look every episode over: gaps, frozen cameras, silent teleoperation, duplicates and more.

    In: a store's folder. Out: one line a finding; exit code 1 if any is an error.
    Example: rlco-data check data/real
    """

    path: tyro.conf.Positional[Path]
    """Folder of the episode store."""

    def run(self) -> int:
        """Print the findings."""
        findings = check_store(self.path)
        for finding in findings:
            print(finding)
        errors = sum(finding.severity == "error" for finding in findings)
        print(f"{errors} errors, {len(findings) - errors} warnings in {self.path}")
        return 1 if errors else 0


@dataclass(frozen=True, kw_only=True)
class PrintContract:
    """Print a built-in contract as YAML, to start your own from.

    Out: YAML on stdout or in a file. Example: rlco-data contract --name franka_compact
    """

    name: str = "franka_compact"
    """Name of the built-in contract."""
    out: Path | None = None
    """Write to this file instead of stdout."""

    def run(self) -> int:
        """Print or write the contract."""
        if self.name not in BUILT_IN:
            raise ValueError(f"no built-in contract {self.name!r}; choose from {sorted(BUILT_IN)}")
        contract = BUILT_IN[self.name]()
        if self.out is None:
            print(spec.dumps(contract), end="")
            return 0
        spec.save(contract, self.out)
        print(f"{self.out}: contract {contract.name} {contract.id}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Print the fields in which two contracts differ.

    In: contract YAML files, store folders or names of built-in contracts. Out: one line a field,
    `field: left -> right`; exit code 1 if they differ.
    Example: rlco-data diff data/real franka_compact
    """

    left: tyro.conf.Positional[str]
    """Contract file, store folder or built-in name."""
    right: tyro.conf.Positional[str]
    """Contract file, store folder or built-in name."""

    def run(self) -> int:
        """Print the differences."""
        left, right = (_any_contract(name) for name in (self.left, self.right))
        for difference in spec.diff(left, right):
            print(difference)
        if left.id == right.id:
            print(f"the same contract: {left.name} {left.id}")
        return int(left.id != right.id)


def _counts(values: Iterable[str]) -> str:
    counted = Counter(values).most_common()
    return ", ".join(f"{value} {count}" for value, count in counted) or "none"


def _any_contract(name: str) -> Contract:
    if name in BUILT_IN:
        return BUILT_IN[name]()
    path = Path(name)
    return read_contract(path) if path.is_dir() else load_contract(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `rlco-data`; exits 0, 1 (something was found) or 2 (it could not be done)."""
    command = tyro.cli(
        Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[PrintContract, tyro.conf.subcommand("contract")]
        | Annotated[Diff, tyro.conf.subcommand("diff")],
        prog="rlco-data",
        description="Look at episode stores and contracts.",
        args=arguments,
    )
    try:
        code = command.run()
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # `| head` has read enough: Python must not flush once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print(f"rlco-data: {error}", file=sys.stderr)
        sys.exit(2)
