"""What a report is made from, as one YAML file; paths in it are relative to that file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curves of one training run.

    `path` is a metrics.jsonl (one JSON object a line: `step`, `wall_s`, scalars). Each of `scalars`
    is drawn in a panel of its own, together with the same scalar of the other runs of `group`.
    """

    label: str
    path: str
    scalars: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A sim evaluation of the policy `label`.

    `path` is what `rlco-train eval --out` writes for a task: a JSON object with `successes` and
    `episodes`; other fields are not used.
    """

    label: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """Something that went in: a store, a twin, a contract, a checkpoint, a lab.

    `id` is its own identity (contract id, twin id, checkpoint id), if it has one; the report takes
    the hash of what lies at `path`, if one is given. `lineage` names what it was made from.
    """

    kind: str
    name: str
    path: str = ""
    id: str = ""
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything a report is made from.

    `bench` says in words where the trials were run. Without `key` the report stays blind.
    """

    study: str
    ledger: str
    key: str = ""
    title: str = ""
    bench: str = ""
    summary: str = ""
    curves: tuple[Curve, ...] = ()
    simulations: tuple[Simulation, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    commands: tuple[str, ...] = ()
    software_version: str = ""
    git_commit: str = ""

    def __post_init__(self) -> None:
        """Check that a policy's sim result is given once."""
        labels = [simulation.label for simulation in self.simulations]
        if len(set(labels)) != len(labels):
            raise ValueError(f"simulations must have distinct labels, got {labels}")
