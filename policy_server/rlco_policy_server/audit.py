"""What operators did, for good: loads, unloads, routes, and above all every unblinding."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from rlco_policy_server.context import CALLER, REQUEST_ID

logger = logging.getLogger(__name__)


class Audit:
    """Appends one JSON line per act to a file, if there is one, and logs it as a warning."""

    def __init__(self, path: Path | None = None) -> None:
        """Write to `path`, which is made or added to."""
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def note(self, act: str, **details: object) -> None:
        """Write down that the present caller did `act`; it is on disk when this returns."""
        row = {
            "time": datetime.now(UTC).isoformat(),
            "act": act,
            "caller": CALLER.get(),
            "request_id": REQUEST_ID.get(),
            **details,
        }
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        logger.warning("operator: %s", act, extra={"fields": details})
