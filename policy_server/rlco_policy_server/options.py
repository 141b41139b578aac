"""What one server process is told when it starts."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rlco_policy_server.endpoints.settings import EndpointSettings


class ServeError(RuntimeError):
    """The server cannot serve as asked."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where and how one process serves."""

    host: str = "127.0.0.1"
    """The address to listen on; other than loopback only with --keys."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    keys: Path | None = None
    """A file of API keys, as `rlco-serve key` writes it; then every request needs one."""
    tls_cert: Path | None = None
    """A PEM certificate chain, to serve over TLS."""
    tls_key: Path | None = None
    """The PEM private key of --tls-cert."""
    blind: bool = False
    """Show aliases only: no checkpoint or normalisation id reaches a client."""
    audit_log: Path | None = None
    """A file that gets a JSON line for every act of an operator, unblinding above all."""
    queue_limit: int = 64
    """How many requests may wait for one device; more are answered 503."""
    batch_wait_ms: float = 2.0
    """How long a batch may wait for sessions that ask at the same pace."""
    session_limit: int = 256
    """How many sessions are remembered at a time."""
    session_idle_s: float = 600.0
    """After how much silence a session may be forgotten."""
    rate_limit: float = 500.0
    """How often each key may ask, requests per second."""
    connection_limit: int = 512
    """How many connections may be open; more are answered 503."""
    ensemble: float | None = None
    """Average overlapping chunks of a session with this decay per chunk (0.01 is usual)."""
    shadow_log: Path | None = None
    """A file that gets a JSON line for every comparison with the shadow policy."""
    record: Path | None = None
    """A folder to record requests and replies in, an episode store for each contract."""
    record_source: Literal["real", "sim"] = "real"
    """What the recorded observations are of."""
    drain_s: int = 10
    """How long open requests may take to finish after SIGTERM."""
    ready_file: Path | None = None
    """A JSON file to write {url, pid, policies} to once the port is open, for scripts."""
    endpoints: EndpointSettings = field(default_factory=EndpointSettings)
    """Limits and choices of the protocols."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers, and an open door without a lock."""
        if not 0 <= self.port <= 65535:
            raise ServeError(f"--port {self.port}: choose 0 (any free port) to 65535")
        for name in ("queue_limit", "session_limit", "connection_limit", "drain_s"):
            if getattr(self, name) < 1:
                raise ServeError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate_limit", "session_idle_s"):
            if not getattr(self, name) > 0:
                raise ServeError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.batch_wait_ms <= 1000:
            raise ServeError(f"batch_wait_ms must be in [0, 1000], got {self.batch_wait_ms}")
        if self.ensemble is not None and not self.ensemble >= 0:
            raise ServeError(f"ensemble must not be negative, got {self.ensemble}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ServeError("TLS needs both --tls-cert and --tls-key")
        if self.keys is None and not is_loopback(self.host):
            raise ServeError(
                f"--host {self.host}: other machines could then command the robot's policy. Use "
                "--host 127.0.0.1 with an SSH tunnel, or let in only who has a key: --keys FILE, "
                "made by 'rlco-serve key'"
            )


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def require_tls_files(options: ServeOptions) -> None:
    """Check that certificate and key can be used together.

    Raises:
        ServeError: if not.
    """
    if options.tls_cert is None or options.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise ServeError(
            f"--tls-cert {options.tls_cert}, --tls-key {options.tls_key}: {error.strerror or error}"
            "; give a PEM certificate chain and its private key"
        ) from error
