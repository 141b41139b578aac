"""The README of an exported policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlco_trainer.checkpoint import CARD, WEIGHTS, CheckpointCard


def readme(
    folder: Path, card: CheckpointCard, record: Mapping[str, Any], checkpoint_id: str
) -> str:
    """Return the README of the export in `folder`, in Markdown."""
    contract, line = card.contract, card.lineage
    cameras = ", ".join(f"{c.name} {c.width}x{c.height}" for c in contract.cameras)
    facts = {
        "checkpoint id": f"`{checkpoint_id}`",
        "family": card.family,
        "contract": f"{contract.name} (`{contract.id}`): {contract.control_rate_hz:g} Hz, chunks "
        f"of {contract.horizon} steps of which {contract.executed_steps} are executed",
        "cameras": cameras,
        "made by": f"{line.stage}, step {line.step}, rlco {line.software_version}",
        "weights": f"{record['weights']} weights of checkpoint `{record['source_checkpoint_id']}`, "
        f"stored as {record['stored']}, {record['merged_adapters']} adapters merged",
    }
    if line.task:
        facts["tasks"] = line.task
    if line.twin_id:
        facts["trained in twin"] = f"`{line.twin_id}`"
    if line.stores:
        facts["demonstrations"] = "<br>".join(line.stores)
    if line.parent_checkpoint:
        facts["parent checkpoint"] = f"`{line.parent_checkpoint}`"
    if line.config_hash:
        facts["configuration"] = f"`{line.config_hash}`"
    for name, value in card.metrics.items():
        facts[name.replace("_", " ")] = f"{value:g}"
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    hashes = "\n".join(f"{sha256(folder / name)}  {name}" for name in (CARD, WEIGHTS))
    return TEXT.format(
        name=card.family, table=table, hashes=hashes, camera=contract.cameras[0].name
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TEXT = """# A {name} policy, exported by rlco

| | |
|---|---|
{table}

Observations and actions are what `contract.yaml` says; every client must speak that contract.
Actions are 7 numbers a step: translation (m) and rotation vector (rad) in the robot's base frame,
relative to the previous target, and the gripper's opening in [0, 1].

## Check it
```
sha256sum --check <<'END'
{hashes}
END
rlco-train export --out . --verify
```
The second command loads the policy and compares its actions on fixed inputs with those of the
checkpoint that it was made from (`expected.safetensors`).

## Serve it
```
rlco-serve --checkpoint policy=. --port 8000
```

## Use it in Python
```python
from rlco_trainer.checkpoint import load_policy

policy = load_policy(".").policy
chunk = policy.infer({{"{camera}": images}}, state, ["instruction"])  # (B, horizon, 7)
```

## Go on from it
`rlco-train stage1 --init .` and `rlco-train stage2 --init .` start from these weights;
`rlco-train eval --checkpoint .` measures them in a twin.
"""
