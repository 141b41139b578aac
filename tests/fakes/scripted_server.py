"""A policy server that misbehaves on request: plain HTTP, no policy behind it."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from rlco_datasets import spec
from rlco_policy_server.wire import v1
from rlco_policy_server.wire.metadata import PolicyMetadata, ServerMetadata


class ScriptedServer:
    """Policies A and B, which step 1 mm forward; `behaviour` is good, nan or slow.

    Slow: answers when `release` is set. It listens from `start` to `stop`, on one port.
    """

    def __init__(self, contract):
        self.behaviour = "good"
        self.sessions = []
        self.release = threading.Event()
        self._contract = contract
        self._port = 0
        self._server = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    def start(self):
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.scripted = self
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.release.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for connection in self._server.connections:
                with contextlib.suppress(OSError):  # the client may have hung up before
                    connection.shutdown(socket.SHUT_RDWR)
            self._server = None

    def metadata(self):
        policies = tuple(
            PolicyMetadata(
                alias=alias,
                policy_id=alias,
                contract_id=self._contract.id,
                contract=self._contract,
                horizon=self._contract.horizon,
                executed_steps=self._contract.executed_steps,
                control_rate_hz=self._contract.control_rate_hz,
            )
            for alias in "AB"
        )
        served = ServerMetadata(
            policies=policies, default_policy="A", blind=True, software_version="0"
        )
        return json.dumps(spec.to_plain(served)).encode()

    def reply(self, request):
        self.sessions.append(request.session)
        actions = np.zeros((self._contract.horizon, 7), np.float32)
        actions[:, 0], actions[:, 6] = 0.001, 1.0
        if self.behaviour == "nan":
            actions[1, 2] = np.nan
        if self.behaviour == "slow":
            self.release.wait(60)
        times = request.stamp_ns + np.arange(self._contract.horizon) * self._contract.period_ns
        return v1.encode_reply(
            v1.Reply(
                actions=actions,
                target_times_ns=times,
                policy_id=request.policy or "A",
                session=request.session,
                step=request.step,
                timing=v1.Timing(queue_ms=0.0, infer_ms=0.0, total_ms=0.0),
            )
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connections = []

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Say nothing: a client that gave up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._answer(self.server.scripted.metadata())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.server.scripted.reply(v1.decode_request(body)))

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass
