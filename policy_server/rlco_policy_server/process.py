"""One server process: warm up, open the port, announce it, drain on a signal."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from rlco_policy_server.app import create_app
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.websockets import WEBSOCKETS, OpenAnswers
from rlco_policy_server.engine import Engine
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.policies import PolicySet, ServedPolicy
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES


class ServeError(RuntimeError):
    """The server cannot open its port as asked."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where and how one process serves; `port` 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    blind: bool = False
    allow_remote: bool = False
    queue_limit: int = 16
    max_body_bytes: int = MAX_MESSAGE_BYTES
    drain_s: int = 10
    ready_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse impossible numbers, and an open door that was not asked for."""
        if not 0 <= self.port <= 65535:
            raise ServeError(f"--port {self.port}: choose 0 (any free port) to 65535")
        for name in ("queue_limit", "max_body_bytes", "drain_s"):
            if getattr(self, name) < 1:
                raise ServeError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.allow_remote and not is_loopback(self.host):
            raise ServeError(
                f"--host {self.host}: other machines could then command the robot's policy, and "
                "there is no authentication yet. Use --host 127.0.0.1 with an SSH tunnel, or pass "
                "--allow-remote on a network you trust"
            )


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def serve(policies: list[ServedPolicy], options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT, answer what is open, and return.

    Raises:
        WarmUpError: if a policy cannot answer.
        ServeError: if the port cannot be opened.
    """
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)
    engine = Engine(PolicySet(policies, blind=options.blind), queue_limit=options.queue_limit)
    engine.start()
    listener = bind(options)
    app = create_app(Gateway(engine), EndpointSettings(max_body_bytes=options.max_body_bytes))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        loop="asyncio",
        ws=WEBSOCKETS,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=options.drain_s,
    )
    server = _AnnouncingServer(config, options, engine.policies.aliases, app.state.open_answers)
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)


def exit_cleanly_on_signals() -> None:
    """Leave with status 0 on SIGTERM and SIGINT, also while loading.

    While the server runs, uvicorn catches both, drains, and raises them again at the end.
    """

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def bind(options: ServeOptions) -> socket.socket:
    """Return a TCP socket bound to the address that `options` ask for, not listening yet.

    Raises:
        ServeError: if the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With the protocol left at 0, asyncio does not set TCP_NODELAY on the accepted sockets, and
    # every reply waits 40 ms for a delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        raise ServeError(
            f"cannot listen on {options.host}:{options.port} ({error.strerror}); choose another "
            "--port, or 0 for any free one"
        ) from error
    return listener


class _AnnouncingServer(uvicorn.Server):
    """Says where it listens once it does, and answers websockets before it goes."""

    def __init__(
        self,
        config: uvicorn.Config,
        options: ServeOptions,
        aliases: list[str],
        open_answers: OpenAnswers,
    ) -> None:
        super().__init__(config)
        self._options = options
        self._aliases = aliases
        self._open_answers = open_answers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._open_answers.finish(self._options.drain_s)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started or not sockets:
            return
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        url = f"http://{host}:{sockets[0].getsockname()[1]}"
        if self._options.ready_file is not None:
            ready = {"url": url, "pid": os.getpid(), "policies": self._aliases}
            partial = self._options.ready_file.with_name(self._options.ready_file.name + ".partial")
            partial.write_text(json.dumps(ready) + "\n", encoding="utf-8")
            partial.replace(self._options.ready_file)
        print(f"serving {', '.join(self._aliases)} at {url}", file=sys.stderr, flush=True)
