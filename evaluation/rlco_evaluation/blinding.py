"""Blind codes: which policy is `A` is known to the key file alone.

The study carries a salted hash of the key (a commitment), so that the key can be neither guessed
from the study nor changed after it.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlco_datasets import spec

from rlco_evaluation.fingerprint import fingerprint
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.study import Study


class BlindingError(ValueError):
    """A key does not belong to a study, or the labels cannot be blinded."""


@dataclass(frozen=True, kw_only=True)
class KeyEntry:
    """One blind code, its policy's label, and the checkpoint it stands for."""

    code: str
    label: str
    checkpoint: str
    checkpoint_hash: str


@dataclass(frozen=True, kw_only=True)
class Key:
    """The secret half of a study. Keep it away from whoever runs the trials.

    `seed` is what the codes were shuffled with; `salt` is random, so that the commitment cannot be
    searched for the few possible orders.
    """

    study_name: str
    entries: tuple[KeyEntry, ...]
    seed: int
    salt: str

    def __post_init__(self) -> None:
        """Check that codes and labels are distinct."""
        for field in ("code", "label"):
            values = [getattr(entry, field) for entry in self.entries]
            if not values or len(set(values)) != len(values) or not all(values):
                raise ValueError(f"{field}s must be distinct and not empty, got {values}")

    @property
    def commitment(self) -> str:
        """The SHA-256 (hex) of the key, salt included, that the study carries."""
        text = json.dumps(spec.to_plain(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def labels(self) -> dict[str, str]:
        """The label of each code, in the order in which the labels were given."""
        return {entry.code: entry.label for entry in self.entries}

    def code(self, label: str) -> str:
        """Return the blind code of `label`.

        Raises:
            BlindingError: if there is no such label.
        """
        for entry in self.entries:
            if entry.label == label:
                return entry.code
        raise BlindingError(f"no policy {label!r}; the key has {sorted(self.labels.values())}")


def blind(
    study_name: str,
    checkpoints: Mapping[str, str],
    *,
    seed: int | None = None,
    salt: str | None = None,
) -> Key:
    """Deal blind codes A, B, C, ... to `checkpoints` (label -> path) in a random order.

    Args:
        study_name: the study the key is for.
        checkpoints: path of each label's checkpoint; "" where a policy has none.
        seed: fixes the order; drawn at random if None. Recorded in the key either way.
        salt: fixes the commitment (tests); drawn at random if None.

    Raises:
        BlindingError: if there are no policies, more than 26, or a checkpoint is missing.
    """
    if not 1 <= len(checkpoints) <= len(string.ascii_uppercase):
        raise BlindingError(f"a study blinds 1 to 26 policies, got {len(checkpoints)}")
    for label, path in checkpoints.items():
        if path and not Path(path).exists():
            raise BlindingError(f"policy {label!r}: no checkpoint at {path}. Check the path.")
    seed = secrets.randbelow(2**31) if seed is None else seed
    codes = list(string.ascii_uppercase[: len(checkpoints)])
    random.Random(seed).shuffle(codes)
    entries = tuple(
        KeyEntry(
            code=code,
            label=label,
            checkpoint=path,
            checkpoint_hash=fingerprint(path) if path else "",
        )
        for code, (label, path) in zip(codes, checkpoints.items(), strict=True)
    )
    return Key(
        study_name=study_name,
        entries=entries,
        seed=seed,
        salt=secrets.token_hex(16) if salt is None else salt,
    )


def require_key(study: Study, key: Key) -> None:
    """Check that `key` is the one `study` was locked with.

    Raises:
        BlindingError: if it is another key, or was edited since.
    """
    if study.key_commitment != key.commitment:
        raise BlindingError(
            f"this key (commitment {key.commitment[:16]}, for study {key.study_name!r}) is not the "
            f"one that study {study.name!r} was locked with ({study.key_commitment[:16] or 'none'})"
            ". Use the key.yaml written together with the study, unedited."
        )


def unblind(study: Study, ledger: Ledger, key: Key, *, who: str, early: bool = False) -> None:
    """Record in `ledger` that `who` opened `key`; a second time adds a second entry.

    Raises:
        BlindingError: if the key is not the study's, or trials are still to be run and not `early`.
    """
    require_key(study, key)
    remaining = len(ledger.remaining(study))
    if remaining and not early:
        raise BlindingError(
            f"{remaining} trials are still to be run; unblinding now would bias them. "
            "Finish them first."
        )
    text = f"key {key.commitment} opened with {remaining} trials still to be run"
    ledger.note(text, what="unblind", who=who)
