"""One server process: warm up, open the port, announce it, drain on a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from rlco_policy_server.app import create_app
from rlco_policy_server.audit import Audit
from rlco_policy_server.endpoints.websockets import OpenAnswers
from rlco_policy_server.engine import Engine
from rlco_policy_server.frame_protocol import FrameProtocol
from rlco_policy_server.gateway import Gateway, GatewaySettings
from rlco_policy_server.keys import KeyFileError, load_keys
from rlco_policy_server.operate import PolicyLoader
from rlco_policy_server.options import ServeError, ServeOptions, require_tls_files
from rlco_policy_server.policies import PolicySet, ServedPolicy
from rlco_policy_server.record import Recorder
from rlco_policy_server.shadow import Shadow


def serve(
    policies: list[ServedPolicy],
    options: ServeOptions,
    *,
    shadow: ServedPolicy | None = None,
    loader: PolicyLoader | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, answer what is open, and return.

    Args:
        policies: who answers.
        options: where and how.
        shadow: a policy that is asked too, and whose answers are only logged.
        loader: how operators load more policies.

    Raises:
        WarmUpError: if a policy cannot answer.
        ServeError: if the port cannot be opened, or a file not be used.
    """
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)
    require_tls_files(options)
    try:
        keys = None if options.keys is None else load_keys(options.keys)
        audit = Audit(options.audit_log)
    except (KeyFileError, OSError) as error:
        raise ServeError(str(error)) from error
    gateway = start_gateway(policies, options, shadow=shadow)
    listener = bind(options)
    app = create_app(gateway, options.endpoints, keys=keys, loader=loader, audit=audit)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        loop="uvloop",
        ws=FrameProtocol,
        ws_max_size=options.endpoints.max_body_bytes,
        ws_per_message_deflate=False,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        limit_concurrency=options.connection_limit,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=options.drain_s,
    )
    server = _AnnouncingServer(config, options, gateway, app.state.open_answers)
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)


def start_gateway(
    policies: list[ServedPolicy], options: ServeOptions, *, shadow: ServedPolicy | None = None
) -> Gateway:
    """Return a gateway whose policies are warm.

    Raises:
        WarmUpError: if a policy cannot answer.
        ServeError: if a log cannot be written.
    """
    engine = Engine(
        PolicySet(policies, blind=options.blind),
        queue_limit=options.queue_limit,
        batch_wait_s=1e-3 * options.batch_wait_ms,
    )
    engine.start()
    recorder = None
    if options.record is not None:
        recorder = Recorder(options.record, engine.metrics, source=options.record_source)
    watcher = None
    if shadow is not None:
        engine.warm_up(shadow)
        try:
            watcher = Shadow(engine, shadow, options.shadow_log)
        except OSError as error:
            raise ServeError(f"--shadow-log {options.shadow_log}: {error.strerror}") from error
    settings = GatewaySettings(
        session_limit=options.session_limit,
        session_idle_s=options.session_idle_s,
        rate_limit_hz=options.rate_limit,
        ensemble_decay=options.ensemble,
    )
    return Gateway(engine, settings, shadow=watcher, recorder=recorder)


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
        gateway: Gateway,
        open_answers: OpenAnswers,
    ) -> None:
        super().__init__(config)
        self._options = options
        self._gateway = gateway
        self._open_answers = open_answers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.leave()
        await self._open_answers.finish(self._options.drain_s)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started or not sockets:
            return
        aliases = self._gateway.engine.policies.aliases
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        scheme = "http" if self._options.tls_cert is None else "https"
        url = f"{scheme}://{host}:{sockets[0].getsockname()[1]}"
        if self._options.ready_file is not None:
            ready = {"url": url, "pid": os.getpid(), "policies": aliases}
            partial = self._options.ready_file.with_name(self._options.ready_file.name + ".partial")
            partial.write_text(json.dumps(ready) + "\n", encoding="utf-8")
            partial.replace(self._options.ready_file)
        print(f"serving {', '.join(aliases)} at {url}", file=sys.stderr, flush=True)
