"""The version of this distribution, as replies and episodes state it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def software_version() -> str:
    """Return the version of this distribution."""
    return version("rlco-policy-server")
