"""A policy server that misbehaves on request: the stream alone, no policy behind it."""

import threading

import numpy as np
from rlco_policy_server.wire import stream, v1
from rlco_policy_server.wire.metadata import PolicyMetadata, ServerMetadata
from stream_server import StreamServer


class ScriptedServer:
    """Policies A and B, which step 1 mm forward (`step_m`); `behaviour` is good, nan or slow.

    Slow: answers when `release` is set. It listens from `start` to `stop`, on one port.
    """

    def __init__(self, contract):
        self.behaviour = "good"
        self.step_m = (0.001, 0.0, 0.0)
        self.sessions = []
        self.release = threading.Event()
        self._contract = contract
        self._server = StreamServer(self.metadata, self._answer)

    @property
    def url(self):
        return self._server.url

    def start(self):
        self._server.start()
        return self

    def stop(self):
        self.release.set()
        self._server.stop()

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
        return stream.encode(
            ServerMetadata(policies=policies, default_policy="A", blind=True, software_version="0")
        )

    def reply(self, request):
        self.sessions.append(request.session)
        actions = np.zeros((self._contract.horizon, 7), np.float32)
        actions[:, :3], actions[:, 6] = self.step_m, 1.0
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

    def _answer(self, frame):
        if isinstance(frame, bytes):
            return self.reply(v1.decode_request(frame))
        question = stream.decode_ask(frame)
        return stream.encode_reset(question.session) if question.session else self.metadata()
