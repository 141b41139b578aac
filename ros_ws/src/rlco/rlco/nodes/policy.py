"""The policy node: drives the arm with a policy of the policy server. A lifecycle node.

Services: `policy/check` (ready to start?), `policy/start`, `policy/stop`. It stops by itself, with
the reason on `diagnostics` and in the log, when the server is down or late, a topic falls silent,
or an action is not finite; the arm then holds its last target. Only `policy/start` moves it again.

In lock step each observation is answered with the command for its time. By the wall clock a command
goes out every control period, stamped with the time it is for; the policy is asked in a thread.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import ContractMismatchError
from rlco_msgs.srv import StartPolicy
from rlco_policy_server.client import PolicyClient, PolicyServerError
from std_srvs.srv import Trigger

from rlco.api_key import read_api_key
from rlco.core.driver import Ahead, Observed, PolicyDriver
from rlco.core.latency import MotionWatch, summary_ms
from rlco.core.scheduler import ChunkError, scheduler_for
from rlco.core.streams import Snapshot
from rlco.core.targets import TargetIntegrator, UnsafeActionError
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import Commander, Observer
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.managed import ManagedNode
from rlco.nodes.runtime import declare, main
from rlco.parameters import PolicyParameters, contract_named

CHECK_PERIOD_S = 0.2
SILENT_CHECKS = 3
"""How many checks in a row must find silence: the node itself may have been busy asking."""


class Policy(ManagedNode):
    """Executes one run of a policy at a time."""

    def __init__(self) -> None:
        """Subscribe and offer the services; the server is contacted when it is needed."""
        super().__init__("policy")
        self._parameters = declare(self, PolicyParameters)
        self.autostart = self._parameters.autostart
        self._active = False
        self._contract = contract_named(self._parameters.contract)
        self._api_key = read_api_key(self._parameters.api_key_file)
        self._commander = Commander(self, "policy")
        self._client: PolicyClient | None = None
        self._driver: PolicyDriver | None = None
        self._run = StartPolicy.Request()
        self._policy_id = ""
        self._not_before_ns = self._start_ns = 0
        self._silent_checks = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy_client")
        self._diagnostics = Diagnostics(self)
        self._observer = Observer(
            self,
            self._parameters,
            self._contract,
            on_snapshot=self._on_snapshot,
            on_repeat=self._on_repeat,
        )
        self.create_service(Trigger, topics.CHECK_POLICY, self._on_check)
        self.create_service(StartPolicy, topics.START_POLICY, self._on_start)
        self.create_service(Trigger, topics.STOP_POLICY, self._on_stop)
        self._watch = self.wall_timer(CHECK_PERIOD_S, self._check_silence)
        self._clock_tick = self.wall_timer(self._contract.period_s, self._tick)
        self._clock_tick.cancel()
        self._motion = MotionWatch()

    def activate(self) -> None:
        """Take starts."""
        self._active = True

    def deactivate(self) -> None:
        """Stop driving, and refuse starts."""
        self._active = False
        if self._driver is not None:
            self._fail("deactivated")

    def _complaint(self) -> str:
        if not self._active:
            return (
                "the policy node is not active. Activate it: `ros2 lifecycle set policy activate`"
            )
        return self._observer.monitor.complaint() or self._connect()

    def _on_check(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._complaint()
        response.success = not response.message
        return response

    def _connect(self) -> str:
        """Connect to the server if that is not done, and ask if it is there; return why not."""
        try:
            if self._client is None:
                self._client = PolicyClient(
                    self._parameters.server,
                    self._contract,
                    timeout_s=self._parameters.timeout_s,
                    api_key=self._api_key,
                )
            else:
                self._client.metadata()
        except (PolicyServerError, ContractMismatchError) as error:
            self._disconnect()
            return str(error)
        return ""

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _on_start(
        self, request: StartPolicy.Request, response: StartPolicy.Response
    ) -> StartPolicy.Response:
        if self._driver is not None:
            response.message = f"already driving session {self._run.session!r}; stop it first"
        else:
            response.message = self._complaint()
        if response.message:
            self._diagnostics.error(f"did not start: {response.message}", session=request.session)
            return response
        self._run = request
        self._policy_id = ""
        self._silent_checks = 0
        lock_step = self._parameters.lock_step
        self._driver = PolicyDriver(
            self._contract,
            TargetIntegrator(
                self._contract,
                self._parameters.workspace_low_m,
                self._parameters.workspace_high_m,
            ),
            self._ask,
            scheduler=None
            if lock_step
            else scheduler_for(self._parameters.blending, self._contract),
            executor=None if lock_step else self._thread,
            lead_steps=0 if lock_step else self._parameters.lead_steps,
        )
        self._observer.assembler.need(self._observer.assembler.streams)
        self._not_before_ns = wire.stamp_ns(request.not_before)
        self._motion = MotionWatch()
        response.success = True
        if lock_step:
            snapshot = self._observer.assembler.restart(self._not_before_ns)
            if snapshot is not None:
                self._on_snapshot(snapshot)
        else:
            self._start_ns = self.get_clock().now().nanoseconds + self._contract.period_ns
            self._clock_tick.reset()
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._driver is None:
            response.message = "no policy is driving"
            return response
        response.success = True
        response.message = f"{self._driver.steps} steps, {self._driver.held} of them held"
        delays_ns = self._driver.delays_ns
        if delays_ns:
            latency = f"observation to command {summary_ms(delays_ns)}, {self._motion.told}"
            response.message += f"; {latency}"
            self.get_logger().info(latency)
        self._end()
        self._diagnostics.ok("stopped", session=self._run.session)
        return response

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        if self._driver is not None and self._parameters.lock_step:
            self._step(snapshot, snapshot.stamp_ns)

    def _tick(self) -> None:
        """By the wall clock: command the step whose time has come."""
        if self._driver is None:
            return
        snapshot = self._observer.assembler.current()
        if snapshot is None or snapshot.stamp_ns < self._not_before_ns:
            return
        now_ns = self.get_clock().now().nanoseconds
        period_ns = self._contract.period_ns
        at_ns = self._start_ns + round((now_ns - self._start_ns) / period_ns) * period_ns
        self._step(snapshot, at_ns)
        if self._driver is not None and self._driver.delays_ns:
            observed_ns = at_ns - self._driver.delays_ns[0]
            self._motion.see(snapshot.stamp_ns, snapshot[topics.POSE], observed_ns)

    def _step(self, snapshot: Snapshot, at_ns: int) -> None:
        assert self._driver is not None
        observed = Observed(
            stamp_ns=snapshot.stamp_ns,
            images={
                name: snapshot[topics.image(name)]
                for name in self._contract.camera_names
                if topics.image(name) in snapshot.samples
            },
            T_base_tcp=snapshot[topics.POSE],
            width_m=snapshot[topics.FINGERS],
        )
        try:
            target = self._driver.step(observed, at_ns)
        except (PolicyServerError, ContractMismatchError, ChunkError, UnsafeActionError) as error:
            self._fail(str(error))
            return
        # Between chunks there is no need to wait for images; a simulated lab may not even render.
        asks = self._driver.asks_at(at_ns + self._contract.period_ns)
        streams = self._observer.assembler.streams
        self._observer.assembler.need(streams if asks else (topics.POSE, topics.FINGERS))
        self._commander.send(target, at_ns)
        self._driver.ask_ahead(observed, at_ns)

    def _on_repeat(self, stamp_ns: int) -> None:
        if self._driver is not None:
            self._commander.repeat(stamp_ns)

    def _ask(self, observed: Observed, step: int, ahead: Ahead) -> NDArray[np.floating]:
        assert self._client is not None
        continued = self._parameters.blending == "rtc" and not self._parameters.lock_step
        started_s = time.monotonic()
        reply = self._client.infer(
            images=observed.images,
            state=observed.state,
            instruction=self._run.instruction,
            session=self._run.session,
            step=step,
            stamp_ns=observed.stamp_ns,
            policy=self._run.policy or None,
            **(self._continued(ahead) if continued else {}),
        )
        if reply.policy_id != self._policy_id:
            self._policy_id = reply.policy_id
            self._diagnostics.ok(
                "driving",
                session=self._run.session,
                policy_id=reply.policy_id,
                round_trip_ms=f"{(time.monotonic() - started_s) * 1e3:.1f}",
            )
        return reply.actions

    def _continued(self, ahead: Ahead) -> dict[str, Any]:
        """Return what the server needs to continue the chunk in execution; nothing at the start."""
        covered_s = len(ahead.actions) * self._contract.period_s
        if not covered_s:
            return {}
        return {"prefix": ahead.actions, "delay_s": min(ahead.delay_s, covered_s)}

    def _check_silence(self) -> None:
        complaint = self._observer.monitor.complaint() if self._driver is not None else ""
        self._silent_checks = self._silent_checks + 1 if complaint else 0
        if self._silent_checks >= SILENT_CHECKS:
            self._fail(complaint)

    def _end(self) -> None:
        self._driver = None
        self._clock_tick.cancel()

    def _fail(self, reason: str) -> None:
        self._end()
        self._disconnect()
        self._diagnostics.error(
            f"stopped, the arm holds its last target: {reason}", session=self._run.session
        )

    def close(self) -> None:
        """Stop driving and disconnect."""
        self._end()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._disconnect()


def run() -> None:
    """Run the node."""
    main(Policy)


if __name__ == "__main__":
    run()
