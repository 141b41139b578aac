"""The replay node: plays an episode of a store through the stack.

The targets that the episode's actions add up to go to the guard as an operator's would, one a
control period: what was executed once is executed again, under today's limits. It is how a lab
checks that recording and driving agree, and how system identification gets its data. Where the
bench can lay out scenes (the simulated lab), the episode's initial condition is laid out first.
"""

from __future__ import annotations

import numpy as np
from rlco_datasets.frames import pose_matrix, rotation_from_6d
from rlco_datasets.store import EpisodeStore
from rlco_msgs.srv import ResetScene

from rlco.core.streams import Snapshot
from rlco.core.targets import TargetIntegrator
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import Commander, Observer
from rlco.nodes.guard_client import GuardClient
from rlco.nodes.runtime import NodeError, RlcoNode, declare, main
from rlco.parameters import ReplayParameters, contract_named

START_TIMEOUT_S = 300.0
EVERYWHERE_M = 10.0
"""The guard knows the workspace; the replay only adds actions up."""


class Replay(RlcoNode):
    """Plays one episode, then ends."""

    def __init__(self) -> None:
        """Read the episode."""
        super().__init__("replay")
        self._parameters = declare(self, ReplayParameters)
        self._contract = contract_named(self._parameters.contract)
        with EpisodeStore.open(self._parameters.store, contract=self._contract) as store:
            if self._parameters.episode >= len(store):
                raise NodeError(
                    f"{self._parameters.store} has {len(store)} episodes, there is no "
                    f"{self._parameters.episode}"
                )
            episode = store.episode(self._parameters.episode)
        self._actions = episode.actions
        self._condition = episode.metadata.initial_condition
        self._T_base_first = pose_matrix(
            episode.state[0, :3], rotation_from_6d(episode.state[0, 3:9])
        )
        self._snapshot: Snapshot | None = None
        self._commander = Commander(self, "teleop")
        self._guard = GuardClient(self, self._contract)
        self._reset = self.create_client(ResetScene, topics.RESET_SCENE)
        self._observer = Observer(
            self,
            self._parameters,
            self._contract,
            on_snapshot=self._on_snapshot,
            on_repeat=self._commander.repeat,
            with_images=False,
        )

    def run(self) -> int:
        """Play; return 0 when the last action was sent."""
        self._wait_for(self._observer.assembler.current, START_TIMEOUT_S)
        start_ns = self._lay_out()
        self._guard.hand_over("teleop", timeout_s=START_TIMEOUT_S)
        self._snapshot = self._observer.assembler.restart(start_ns)
        corner_m = np.full(3, EVERYWHERE_M)
        integrator = TargetIntegrator(self._contract, -corner_m, corner_m)
        snapshot = self._next()
        self._check_start(snapshot)
        integrator.start(snapshot[topics.POSE], snapshot[topics.FINGERS])
        if self._parameters.lock_step:
            for number, action in enumerate(self._actions):
                snapshot = snapshot if number == 0 else self._next()
                self._commander.send(integrator.advance(action), snapshot.stamp_ns)
        else:
            self._play_by_the_clock(integrator)
        self._guard.hand_over("none", timeout_s=60.0)
        self.get_logger().info(f"played {len(self._actions)} steps")
        return 0

    def _lay_out(self) -> int:
        """Lay the scene out where the bench can; return from when observations count (ns)."""
        if self._condition is None or not self._reset.service_is_ready():
            return 0
        condition = wire.initial_condition_message(self._condition)
        request = ResetScene.Request(initial_condition=condition)
        reply = self.runtime.call(self._reset, request, timeout_s=60.0, repeatable=True)
        if not reply.success:
            raise NodeError(f"the scene could not be laid out: {reply.message}")
        return wire.stamp_ns(reply.stamp)

    def _play_by_the_clock(self, integrator: TargetIntegrator) -> None:
        period_ns = round(self._contract.period_ns / self._parameters.speed)
        start_ns = self.get_clock().now().nanoseconds
        for number, action in enumerate(self._actions):
            at_ns = start_ns + number * period_ns
            left_s = (at_ns - self.get_clock().now().nanoseconds) / 1e9
            self.runtime.spin_until(lambda: False, max(0.0, left_s))
            if self._guard.stopped:
                raise NodeError(self._guard.stopped)
            self._commander.send(integrator.advance(action), at_ns)

    def _check_start(self, snapshot: Snapshot) -> None:
        away_m = float(np.linalg.norm(snapshot[topics.POSE][:3, 3] - self._T_base_first[:3, 3]))
        if away_m > self._parameters.start_tolerance_m:
            raise NodeError(
                f"the arm stands {away_m:.3f} m from where episode {self._parameters.episode} "
                f"begins ({self._T_base_first[:3, 3].round(3).tolist()} m, base frame); the replay "
                f"would end elsewhere. Move it within {self._parameters.start_tolerance_m} m."
            )

    def _next(self) -> Snapshot:
        self._wait_for(lambda: self._snapshot, 2 * self._parameters.silence_s)
        snapshot, self._snapshot = self._snapshot, None
        assert snapshot is not None
        return snapshot

    def _wait_for(self, found: object, timeout_s: float) -> None:
        assert callable(found)
        there = self.runtime.spin_until(lambda: found() is not None, timeout_s)
        if not there or self._guard.stopped:
            complaint = self._guard.stopped or self._observer.monitor.complaint()
            raise NodeError(complaint or f"no complete observation within {timeout_s:.0f} s")

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot


def run() -> None:
    """Run the node."""
    main(Replay)


if __name__ == "__main__":
    run()
