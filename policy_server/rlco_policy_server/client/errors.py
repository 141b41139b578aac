"""Why a client has no action; each error says what to do."""

from __future__ import annotations


class PolicyServerError(RuntimeError):
    """No usable action came from the policy server; the robot must not move on."""


class ServerUnavailableError(PolicyServerError):
    """Nothing answers at the server's URL."""


class ServerTimeoutError(PolicyServerError):
    """The reply was not there in time; it is dropped, also when it comes later."""


class ServerReplyError(PolicyServerError):
    """The server refused (with its own remedy), or its reply is not usable."""

    def __init__(self, message: str, *, status: int | None = None, error: str = "") -> None:
        """Keep the HTTP `status` and the server's `error` code next to the message."""
        super().__init__(message)
        self.status = status
        self.error = error
