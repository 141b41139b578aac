"""API keys: a YAML file of names, roles and hashes; the keys themselves are written nowhere.

    keys:
    - {name: bench-1, role: infer, sha256: 9f86d08...}
    - {name: ada, role: operate, sha256: 60303ae...}

A key is 256 random bits, so one SHA-256 is as good as a slow password hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlco_datasets import spec
from rlco_datasets.durable import replace_file

Role = Literal["infer", "operate"]
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class KeyFileError(ValueError):
    """A key file cannot be used, or not be written as asked."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """Who holds a key and what it is good for; `operate` may do all that `infer` may."""

    name: str
    role: Role
    sha256: str

    def __post_init__(self) -> None:
        """Check name, role and hash."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"key name {self.name!r} must be 1 to 64 letters, digits, '_.-'")
        if self.role not in ("infer", "operate"):
            raise ValueError(f"key {self.name}: role {self.role!r} must be infer or operate")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"key {self.name}: sha256 must be 64 hexadecimal digits, lower case")


@dataclass(frozen=True, kw_only=True)
class KeyFile:
    """The keys of one server."""

    keys: tuple[ApiKey, ...]

    def __post_init__(self) -> None:
        """Check that there are keys, with distinct names."""
        names = [key.name for key in self.keys]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a key file needs at least one key and distinct names, got {names}")

    def find(self, presented: str) -> ApiKey | None:
        """Return the key that was presented, in a time that does not tell how close it came."""
        digest = hashlib.sha256(presented.encode()).hexdigest()
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def load_keys(path: Path) -> KeyFile:
    """Read a key file.

    Raises:
        KeyFileError: if it is missing or malformed.
    """
    try:
        return spec.load(KeyFile, path)
    except spec.SpecError as error:
        raise KeyFileError(
            f"{error} Make one with: rlco-serve key --keys {path} --name NAME --role infer"
        ) from error


def add_key(path: Path, *, name: str, role: Role) -> str:
    """Add a new key to the file at `path`, which is made if missing; return the key.

    Raises:
        KeyFileError: if the name is taken or the file malformed.
    """
    known = load_keys(path).keys if path.exists() else ()
    if any(key.name == name for key in known):
        raise KeyFileError(
            f"{path}: there is a key {name!r} already; choose another name, or remove its entry to "
            "revoke it and start the server again"
        )
    secret = secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    try:
        added = KeyFile(keys=(*known, ApiKey(name=name, role=role, sha256=digest)))
    except ValueError as error:
        raise KeyFileError(str(error)) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, spec.dumps(added).encode())
    return secret
