"""What the endpoints may be told when the server starts."""

from __future__ import annotations

from dataclasses import dataclass

from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Limits and choices of the protocols."""

    max_body_bytes: int = MAX_MESSAGE_BYTES
    """The largest request body or websocket message."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if self.max_body_bytes < 1:
            raise ValueError(f"max_body_bytes must be at least 1, got {self.max_body_bytes}")
