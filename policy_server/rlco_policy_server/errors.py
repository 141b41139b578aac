"""A refusal, as the server answers it: JSON `{error, detail, remedy}` with an HTTP status."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RequestError(Exception):
    """A request that gets no action: `error` is a stable code, `remedy` says what to do."""

    status: int
    error: str
    detail: str
    remedy: str
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the sentence a person reads."""
        return f"{self.detail} {self.remedy}"

    def body(self) -> dict[str, str]:
        """Return what the client receives."""
        return {"error": self.error, "detail": self.detail, "remedy": self.remedy}


class ClientGoneError(Exception):
    """The client hung up before its answer was there; nobody reads what would be sent."""
