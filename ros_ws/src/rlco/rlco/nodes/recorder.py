"""The recorder: streams in, episodes of the contract out.

Services: `recorder/start`, `recorder/stop` (rlco_msgs). Callbacks only append to memory; building
and writing an episode happens in the writer's thread. Ended by a signal in mid-episode, it leaves
the store as it was after the last committed episode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from geometry_msgs.msg import PoseStamped
from rlco_datasets.episode import EpisodeMetadata
from rlco_msgs.srv import StartEpisode, StopEpisode
from sensor_msgs.msg import JointState

from rlco import __version__
from rlco.core.episode_builder import Streams
from rlco.core.monitor import TopicMonitor
from rlco.core.session import Session, SessionError, State
from rlco.core.streams import Stream
from rlco.core.writer import EpisodeWriter, Written
from rlco.nodes import topics, wire
from rlco.nodes.bench_client import StateSubscriptions
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.runtime import RlcoNode, declare, main, state_qos
from rlco.parameters import RecorderParameters, contract_named

DEPTH = 100
LAST_SAMPLES_S = 2.0
"""How long a stop waits for samples that are still on their way."""
OUTCOMES = (StopEpisode.Request.SUCCESS, StopEpisode.Request.FAILURE, StopEpisode.Request.DISCARD)


class Recorder(RlcoNode):
    """Records one episode at a time."""

    def __init__(self) -> None:
        """Open the store and subscribe."""
        super().__init__("recorder")
        self._parameters = declare(self, RecorderParameters)
        self._contract = contract_named(self._parameters.contract)
        self._writer = EpisodeWriter(self._parameters.store, self._contract)
        if self._writer.recovered:
            self.get_logger().warning(f"removed from the store: {self._writer.recovered}")
        self._session = Session()
        self._latest: dict[str, tuple[int, Any]] = {}
        self._begin()
        self._not_before_ns = 0
        self._request = StartEpisode.Request()
        self._subscribe()
        self._diagnostics = Diagnostics(self)
        self.create_service(StartEpisode, topics.START_EPISODE, self._on_start)
        self.create_service(StopEpisode, topics.STOP_EPISODE, self._on_stop)
        self._say_ready()

    def _begin(self) -> None:
        """Take new, empty streams: those of the last episode may still be being written."""
        label = self._parameters.label_topic
        self._streams = Streams(
            images={name: Stream(topics.image(name)) for name in self._contract.camera_names},
            pose=Stream(topics.POSE),
            width=Stream(topics.FINGERS),
            target=Stream(topics.TARGET_POSE),
            width_target=Stream(topics.GRIPPER_TARGET),
            label=Stream(label) if label else None,
        )
        self._by_topic = {stream.name: stream for stream in self._streams.all}

    def _subscribe(self) -> None:
        state = StateSubscriptions(
            self, self._parameters, self._contract, self._on_state, depth=DEPTH
        )
        self._monitor = TopicMonitor(
            state.topics, timeout_s=self._parameters.silence_s, clock_s=time.monotonic
        )
        qos = state_qos(lock_step=True, depth=DEPTH)
        labels = [self._parameters.label_topic] if self._parameters.label_topic else []
        for topic in (topics.TARGET_POSE, *labels):
            self.create_subscription(
                PoseStamped, topic, self._on_command(topic, lambda m: wire.pose_matrix(m.pose)), qos
            )
        parse = self._on_command(topics.GRIPPER_TARGET, wire.gripper_target_width_m)
        self.create_subscription(JointState, topics.GRIPPER_TARGET, parse, qos)

    def _on_state(self, topic: str, stamp_ns: int, value: Any) -> None:
        self._monitor.heard(topic)
        self._latest[topic] = (stamp_ns, value)
        self._keep(topic, stamp_ns, value)

    def _on_command(self, topic: str, parse: Callable[[Any], Any]) -> Callable[[Any], None]:
        def callback(message: Any) -> None:
            try:
                value = parse(message)
            except ValueError as error:
                self.get_logger().error(f"{topic}: not recorded: {error}")
                return
            self._keep(topic, wire.stamp_ns(message.header.stamp), value)

        return callback

    def _keep(self, topic: str, stamp_ns: int, value: Any) -> None:
        if self._session.state is not State.IDLE and stamp_ns >= self._not_before_ns:
            self._by_topic[topic].push(stamp_ns, value)

    def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        free_mb = self._writer.free_mb()
        response.message = self._monitor.complaint()
        if not response.message and free_mb < self._parameters.minimum_free_mb:
            response.message = (
                f"only {free_mb:.0f} MB free at {self._parameters.store}, parameter "
                f"minimum_free_mb asks for {self._parameters.minimum_free_mb}. Free disk space."
            )
        if not response.message:
            try:
                self._metadata(request, "success")  # refuse now what could not be written later
                self._session.start()
            except (ValueError, SessionError) as error:
                response.message = str(error)
        if response.message:
            self._diagnostics.error(f"did not start: {response.message}")
            return response
        self._begin()
        self._request = request
        self._not_before_ns = wire.stamp_ns(request.not_before)
        # The first observation of a scene that was just reset came before this request.
        for topic, (stamp_ns, value) in self._latest.items():
            self._keep(topic, stamp_ns, value)
        self._diagnostics.ok("recording", task=request.task)
        response.success = True
        return response

    async def _on_stop(
        self, request: StopEpisode.Request, response: StopEpisode.Response
    ) -> StopEpisode.Response:
        response.episode = -1
        try:
            if request.outcome not in OUTCOMES:
                raise SessionError(f"outcome must be one of {OUTCOMES}, got {request.outcome!r}")
            self._session.finish()
        except SessionError as error:
            response.message = str(error)
            return response
        if request.outcome == StopEpisode.Request.DISCARD:
            self._session.discard()
            response.success = True
            self._say_ready()
            return response
        last_ns = wire.stamp_ns(request.last_step)
        await _Until(lambda: self._arrived(last_ns), LAST_SAMPLES_S)
        metadata = self._metadata(self._request, request.outcome)
        writing = self._writer.write(self._streams, metadata, last_ns=last_ns)
        await _Until(writing.done)
        self._report(writing, response)
        return response

    def _report(self, writing: Future[Written], response: StopEpisode.Response) -> None:
        try:
            written = writing.result()
        except (ValueError, OSError) as error:
            self._session.fail()
            response.message = str(error)
            self._diagnostics.error(f"episode not recorded: {error}")
            return
        self._session.commit()
        response.success = True
        response.episode, response.steps = written.index, written.steps
        response.flags = list(written.flags)
        self._say_ready()

    def _arrived(self, last_ns: int) -> bool:
        """Whether every stream has reached the last step (0: no need to wait)."""
        newest = [stream.newest for stream in self._streams.all]
        return all(sample is not None and sample.stamp_ns >= last_ns for sample in newest)

    def _metadata(self, request: StartEpisode.Request, outcome: Any) -> EpisodeMetadata:
        condition = request.initial_condition if request.has_initial_condition else None
        return EpisodeMetadata(
            source=request.source,
            task=request.task,
            instruction=request.instruction,
            operator=request.operator_name,
            outcome=outcome,
            contract_id=self._contract.id,
            software_version=__version__,
            created_utc=datetime.now(UTC).isoformat(),
            seed=request.seed if request.has_seed else None,
            initial_condition=None if condition is None else wire.initial_condition(condition),
        )

    def _say_ready(self) -> None:
        self._diagnostics.ok("ready", episodes=self._writer.episodes, store=self._parameters.store)

    def close(self) -> None:
        """Let the write that has begun finish; an unfinished episode is dropped."""
        if self._session.state is State.RECORDING:
            self.get_logger().warning("stopped in mid-episode; that episode is not recorded")
        self._writer.close()


class _Until:
    """Awaits a condition. rclpy polls a waiting coroutine without pause, so each poll naps 1 ms."""

    def __init__(self, done: Callable[[], bool], timeout_s: float = float("inf")) -> None:
        self._done = done
        self._deadline_s = time.monotonic() + timeout_s

    def __await__(self) -> Generator[None, None, None]:
        while not self._done() and time.monotonic() < self._deadline_s:
            time.sleep(0.001)
            yield


def run() -> None:
    """Run the node."""
    main(Recorder)


if __name__ == "__main__":
    run()
