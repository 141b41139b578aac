"""Structured logs: one JSON object a line, with the id of the request it is about."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from rlco_policy_server.context import CALLER, REQUEST_ID

LEVELS = ("debug", "info", "warning", "error")


class JsonFormatter(logging.Formatter):
    """Formats records as `{time, level, logger, message, request_id, caller, ...fields}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        row: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if REQUEST_ID.get():
            row |= {"request_id": REQUEST_ID.get(), "caller": CALLER.get()}
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            row |= fields
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


def log_as_json(level: str) -> None:
    """Send this package's and uvicorn's logs of `level` and above to stderr, as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("rlco_policy_server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
