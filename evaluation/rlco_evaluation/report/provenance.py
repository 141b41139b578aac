"""Where every number came from: identities, hashes and paths of what went into a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlco_evaluation.blinding import Key
from rlco_evaluation.fingerprint import fingerprint
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.report.inputs import Artefact
from rlco_evaluation.study import Study


class ProvenanceError(ValueError):
    """Something that is said to have gone in is not there."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that went in; `id` is its own identity, `hash` that of the files at `path`."""

    kind: str
    name: str
    id: str = ""
    hash: str = ""
    path: str = ""
    lineage: tuple[str, ...] = ()


def rows(
    study: Study,
    ledger: Ledger,
    key: Key | None,
    artefacts: Sequence[Artefact],
    *,
    paths: dict[str, str],
    folder: Path,
) -> tuple[Row, ...]:
    """Return the rows of the provenance table.

    Args:
        study: the study.
        ledger: its ledger, of which the head hash is shown.
        key: its key, or None while blind.
        artefacts: everything else; hashed here if they have a path.
        paths: path of "study", "ledger" and "key", as the reader should see it.
        folder: what the artefacts' paths are relative to.

    Raises:
        ProvenanceError: if an artefact's path does not exist.
    """
    result = [
        Row(kind="study", name=study.name, id=study.id, path=paths["study"]),
        Row(kind="ledger", name="head", id=ledger.head[:16], path=paths["ledger"]),
        Row(kind="contract", name=study.task, id=study.contract_id),
    ]
    if key is not None:
        result.append(
            Row(kind="key", name="commitment", id=key.commitment[:16], path=paths.get("key", ""))
        )
        result.extend(
            Row(
                kind="policy",
                name=f"{entry.label} ({entry.code})",
                hash=entry.checkpoint_hash,
                path=entry.checkpoint,
            )
            for entry in key.entries
        )
    result.extend(_row(artefact, folder) for artefact in artefacts)
    return tuple(result)


def changed_checkpoints(key: Key) -> list[str]:
    """Return a warning for each checkpoint that is no longer what the key was made with."""
    warnings = []
    for entry in key.entries:
        path = Path(entry.checkpoint)
        if entry.checkpoint and path.exists() and fingerprint(path) != entry.checkpoint_hash:
            warnings.append(
                f"The checkpoint of {entry.label} at {entry.checkpoint} has changed since the "
                "study was made."
            )
    return warnings


def _row(artefact: Artefact, folder: Path) -> Row:
    try:
        digest = fingerprint(folder / artefact.path) if artefact.path else ""
    except OSError as error:
        raise ProvenanceError(
            f"{artefact.kind} {artefact.name!r}: nothing at {artefact.path}. Correct the path."
        ) from error
    return Row(
        kind=artefact.kind,
        name=artefact.name,
        id=artefact.id,
        hash=digest,
        path=artefact.path,
        lineage=artefact.lineage,
    )
