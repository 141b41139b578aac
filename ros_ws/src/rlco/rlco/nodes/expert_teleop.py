"""The scripted operator as a ROS 2 node: demonstrates until enough episodes are in the store.

For each episode it draws a start state, lays it out (`lab/reset_scene`), starts the recorder,
drives by target topics, and stops the recorder with what `lab/score_trial` says.
"""

from __future__ import annotations

import itertools

import numpy as np
from geometry_msgs.msg import PoseStamped
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import load_twin
from rlco_datasets.initial_condition import InitialCondition
from rlco_msgs.srv import ResetScene, ScoreTrial, StartEpisode, StopEpisode

from rlco.core.streams import Snapshot
from rlco.lab.operator import ScriptedOperator, Seen
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import Commander, Observer
from rlco.nodes.guard_client import GuardClient
from rlco.nodes.runtime import COMMAND_QOS, NodeError, RlcoNode, declare, main
from rlco.parameters import OperatorParameters, contract_named

OPERATOR_NAME = "scripted_expert"
START_TIMEOUT_S = 300.0
"""A simulated lab loads for seconds on a free machine, for minutes on a busy one."""


class ExpertTeleop(RlcoNode):
    """Demonstrates a task."""

    def __init__(self) -> None:
        """Read the training twin and connect to bench and recorder."""
        super().__init__("expert_teleop")
        self._parameters = declare(self, OperatorParameters)
        self._contract = contract_named(self._parameters.contract)
        self._twin = load_twin(self._parameters.bench)
        self._task = self._twin.task(self._parameters.task)
        self._snapshot: Snapshot | None = None
        self._commander = Commander(self, "teleop")
        self._observer = Observer(
            self,
            self._parameters,
            self._contract,
            on_snapshot=self._on_snapshot,
            on_repeat=self._commander.repeat,
            with_images=False,
            with_objects=True,
        )
        self._guard = GuardClient(self, self._contract)
        label = self._parameters.label_topic
        self._label_out = self.create_publisher(PoseStamped, label, COMMAND_QOS) if label else None
        self._reset = self.create_client(ResetScene, topics.RESET_SCENE)
        self._score = self.create_client(ScoreTrial, topics.SCORE_TRIAL)
        self._start = self.create_client(StartEpisode, topics.START_EPISODE)
        self._stop = self.create_client(StopEpisode, topics.STOP_EPISODE)

    def run(self) -> int:
        """Demonstrate until enough episodes are committed."""
        self._wait_for_listeners()
        committed = failed = 0
        for number in itertools.count():
            if self._episode(number):
                committed += 1
            else:
                failed += 1
            self.get_logger().info(
                f"{committed} of {self._parameters.episodes} episodes committed, {failed} discarded"
            )
            if committed >= self._parameters.episodes:
                return 0
            if failed > self._parameters.max_failures:
                raise NodeError(
                    f"{failed} episodes failed, more than max_failures; the lab may differ too "
                    f"much from {self._parameters.bench} for the scripted operator"
                )
        raise AssertionError("unreachable")

    def _wait_for_listeners(self) -> None:
        if not self.runtime.spin_until(self._reset.service_is_ready, START_TIMEOUT_S):
            raise NodeError(f"no lab: service {topics.RESET_SCENE} did not appear")
        self.runtime.call(self._score, ScoreTrial.Request(), repeatable=True, timeout_s=60.0)
        found = self.runtime.spin_until(
            lambda: (
                self._commander.listeners() > 0
                and (self._label_out is None or self._label_out.get_subscription_count() > 0)
            ),
            START_TIMEOUT_S,
        )
        if not found:
            raise NodeError(
                f"nobody listens to {topics.source_pose('teleop')}, or to the label topic. Are "
                "guard and recorder running?"
            )

    def _episode(self, number: int) -> bool:
        """Run one episode; return whether it was committed."""
        rng = np.random.default_rng([self._parameters.seed, number])
        name = f"{self._task.name}-{self._parameters.seed}-{number}"
        condition = sample(self._twin, self._task.name, rng, name)
        start = self._lay_out(condition)
        self._guard.hand_over("teleop", timeout_s=START_TIMEOUT_S)
        self._start_recorder(condition, number, start)
        operator = ScriptedOperator(
            self._twin, self._contract, self._task.name, rng, noise=self._parameters.noise
        )
        success, last_ns = self._drive(operator, wire.stamp_ns(start.stamp))
        self._guard.hand_over("none", timeout_s=60.0)
        request = StopEpisode.Request(last_step=wire.time_message(last_ns))
        request.outcome = request.SUCCESS if success else request.DISCARD
        reply = self.runtime.call(self._stop, request, timeout_s=60.0)
        if not reply.success:
            raise NodeError(f"the recorder did not keep the episode: {reply.message}")
        return success

    def _lay_out(self, condition: InitialCondition) -> ResetScene.Response:
        request = ResetScene.Request(initial_condition=wire.initial_condition_message(condition))
        reply = self.runtime.call(self._reset, request, timeout_s=START_TIMEOUT_S)
        if not reply.success:
            raise NodeError(f"the scene could not be reset: {reply.message}")
        return reply

    def _start_recorder(
        self, condition: InitialCondition, number: int, start: ResetScene.Response
    ) -> None:
        request = StartEpisode.Request(
            task=self._task.name,
            instruction=self._task.instruction,
            source=self._parameters.source,
            operator_name=OPERATOR_NAME,
            has_seed=True,
            seed=self._parameters.seed * 1_000_000 + number,
            has_initial_condition=True,
            initial_condition=wire.initial_condition_message(condition),
            not_before=start.stamp,
        )
        reply = StartEpisode.Response()

        def started() -> bool:
            nonlocal reply
            reply = self.runtime.call(self._start, request)
            return bool(reply.success)

        # A recorder that was just started may not have heard every topic yet.
        if not started() and not (
            self.runtime.spin_until(lambda: self._observer.monitor.complaint() == "", 5.0)
            and started()
        ):
            raise NodeError(f"the recorder did not start: {reply.message}")

    def _drive(self, operator: ScriptedOperator, start_ns: int) -> tuple[bool, int]:
        """Run an episode; return whether it succeeded and the stamp of the last command."""
        self._snapshot = self._observer.assembler.restart(start_ns)
        stamp_ns = start_ns
        for _ in range(self._parameters.max_steps):
            snapshot = self._next_snapshot()
            if operator.finishing:
                score = self.runtime.call(self._score, ScoreTrial.Request())
                if score.success:
                    return True, stamp_ns
            stamp_ns = snapshot.stamp_ns
            decision = operator.decide(
                Seen(
                    stamp_ns=stamp_ns,
                    T_base_tcp=snapshot[topics.POSE],
                    width_m=snapshot[topics.FINGERS],
                    objects=snapshot[topics.OBJECTS],
                )
            )
            if self._label_out is not None:
                self._label_out.publish(wire.stamped_pose(decision.T_base_meant, stamp_ns))
            self._commander.send(decision.executed, stamp_ns)
        return False, stamp_ns

    def _next_snapshot(self) -> Snapshot:
        timeout_s = 2 * self._parameters.silence_s
        if not self.runtime.spin_until(lambda: self._snapshot is not None, timeout_s):
            complaint = self._observer.monitor.complaint()
            raise NodeError(complaint or f"no complete observation within {timeout_s:.0f} s")
        snapshot, self._snapshot = self._snapshot, None
        assert snapshot is not None
        return snapshot

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot


def run() -> None:
    """Run the node."""
    main(ExpertTeleop)


if __name__ == "__main__":
    run()
