"""`rlco-serve key`: make an API key."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rlco_policy_server.keys import KeyFileError, add_key


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Make an API key.

    In: a key file, which is made if missing. Out: the key on stdout, once; the file keeps its hash
    only. A running server reads the file when it starts.
    Example: `rlco-serve key --keys lab-keys.yaml --name bench-1 --role infer`.
    """

    keys: Path
    """The key file, for `rlco-serve --keys`."""
    name: str
    """Who will hold the key; appears in logs and in recorded episodes."""
    role: Literal["infer", "operate"] = "infer"
    """`infer` asks policies; `operate` also loads and unloads them and reads the alias map."""


def main(arguments: list[str]) -> None:
    """Run the command; exits 2 when it cannot."""
    asked = tyro.cli(Arguments, prog="rlco-serve key", args=arguments)
    try:
        print(add_key(asked.keys, name=asked.name, role=asked.role))
    except (KeyFileError, OSError) as error:
        print(f"rlco-serve key: {error}", file=sys.stderr)
        sys.exit(2)
