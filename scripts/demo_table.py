"""Print the results table of the README from the run folders of `scripts/demo.py`.

Goes in: the demo's folder with its `seed-N` runs. Comes out: a Markdown table on standard output
and in `table.md` there.

Example: `python scripts/demo_table.py --runs runs/demo`
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from rlco_datasets import spec
from rlco_evaluation.analysis import analyse
from rlco_evaluation.blinding import Key
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.seeds import markdown_table
from rlco_evaluation.study import Study

COMPARISONS = [("rl-co", "sft-co-training"), ("sft-co-training", "real-only")]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Where the demo's runs are."""

    runs: Path = Path("runs/demo")
    """Folder with one `seed-N` folder a seed."""


def lab_rates(run: Path) -> dict[str, float]:
    """Return each policy's success rate in the lab, by label."""
    study = spec.load(Study, run / "study" / "study.yaml")
    with Ledger.open(run / "ledger.jsonl", study) as ledger:
        result = analyse(study, ledger, spec.load(Key, run / "study" / "key.yaml"))
    if not result.finished:
        raise ValueError(f"{run}: {result.remaining} trials are still to run")
    return {policy.label: policy.rate for policy in result.policies}


def main() -> int:
    """Print and write the table."""
    runs = tyro.cli(Table, description=__doc__).runs
    folders = sorted(runs.glob("seed-*"), key=lambda path: int(path.name.removeprefix("seed-")))
    if not folders:
        print(f"no seed-N folder in {runs}; run scripts/demo.py first", file=sys.stderr)
        return 2
    lab = [lab_rates(folder) for folder in folders]
    policies = list(lab[0])
    twin = {
        policy: [
            json.loads(path.read_text())["success_rate"]
            for folder in folders
            for path in (folder / f"sim-{policy}").glob("*.json")  # a run has one task
        ]
        for policy in policies
    }
    rates = {"twin": twin, "lab": {policy: [row[policy] for row in lab] for policy in policies}}
    table = markdown_table(rates, COMPARISONS)
    (runs / "table.md").write_text(table)
    print(
        f"success rate in %, mean over {len(folders)} seeds [95% interval] (each seed)\n\n{table}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
