"""The policy server's key for this bench: from a file or the environment, never from a parameter.

A parameter's value can be read by every node and lies in launch files and logs; a file's path may.
"""

from __future__ import annotations

import os
from pathlib import Path

from rlco.parameters.base import ParameterError

VARIABLE = "RLCO_API_KEY"


def read_api_key(path: str) -> str | None:
    """Return the key in the file `path`; where that is "", `$RLCO_API_KEY`; None: there is no key.

    Raises:
        ParameterError: naming the file or variable that holds no key; never the key.
    """
    if path:
        try:
            text = Path(path).expanduser().read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(
                f"parameter 'api_key_file': {path} cannot be read as a key "
                f"({type(error).__name__}). Write the line that `rlco-serve key` printed into it."
            ) from None
        where = path
    else:
        text, where = os.environ.get(VARIABLE, ""), f"${VARIABLE}"
        if not text:
            return None
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ParameterError(
            f"{where} does not hold one key. Put the line that `rlco-serve key` printed there."
        )
    return key
