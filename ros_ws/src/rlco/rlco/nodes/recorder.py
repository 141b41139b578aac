"""The recorder: streams in, episodes of the contract out. A lifecycle node.

Services: `recorder/start`, `recorder/stop` (rlco_msgs), and for keys and consoles
`recorder/success`, `failure`, `discard`, `redo` (Trigger); the same words on `teleop/event` do the
same. State and a meter of every stream: `recorder/state`, and `diagnostics`.

Callbacks only hand serialized messages to a bounded buffer; a process of its own reads, resamples
and writes them. Ended by a signal in mid-episode, the recorder leaves the store as it was after the
last committed episode; started again with the same session, it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rlco_msgs.msg import RecorderState
from rlco_msgs.srv import StartEpisode, StopEpisode
from std_msgs.msg import String
from std_srvs.srv import Trigger

from rlco.core.cues import cue_named
from rlco.core.monitor import TopicMonitor
from rlco.core.session import Session, SessionError, State
from rlco.nodes import topics, wire
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.episode_request import completed, metadata, recorded_topics
from rlco.nodes.managed import ManagedNode
from rlco.nodes.recorded import raw_stamp_ns, readers
from rlco.nodes.recorder_link import EpisodeWriter, Written
from rlco.nodes.recorder_state import STATE_QOS, state_message
from rlco.nodes.recorder_worker import WorkerSettings
from rlco.nodes.runtime import NodeError, declare, main, state_qos
from rlco.nodes.waiting import until
from rlco.parameters import RecorderParameters, contract_named

DEPTH = 200
LAST_SAMPLES_S = 2.0
"""How long a stop waits for samples that are still on their way."""
TICK_S = 0.1
STATE_PERIOD_S = 1.0
BUFFER_FULL, EPISODE_FULL = "samples_dropped", "episode_full"
OUTCOMES = (StopEpisode.Request.SUCCESS, StopEpisode.Request.FAILURE, StopEpisode.Request.DISCARD)
REDO = "redo"


class Recorder(ManagedNode):
    """Records one episode at a time."""

    def __init__(self) -> None:
        """Declare the parameters; the store is opened when the node is configured."""
        super().__init__("recorder")
        self._parameters = declare(self, RecorderParameters)
        self.autostart = self._parameters.autostart
        self._contract = contract_named(self._parameters.contract)
        self._topics = recorded_topics(self._parameters, self._contract.camera_names)
        self._readers = readers(self._topics, self._contract)
        self._cue = cue_named(self._parameters.cues)
        self._diagnostics = Diagnostics(self)
        self._state_out = self.create_publisher(RecorderState, topics.RECORDER_STATE, STATE_QOS)
        self._session = Session(time.monotonic)
        self._writer: EpisodeWriter | None = None
        self._monitor = self._new_monitor()
        self._latest: dict[str, tuple[int, bytes]] = {}
        self._newest_ns: dict[str, int] = {}
        self._request = StartEpisode.Request()
        self._flags: set[str] = set()
        self._message = ""
        self._episode_bytes = 0
        self._collecting = False
        self._not_before_ns = 0
        self._told_s = 0.0
        self._entities: list[Callable[[], object]] = []
        self.create_service(StartEpisode, topics.START_EPISODE, self._on_start)
        ends: Any = {"callback_group": ReentrantCallbackGroup()}  # they wait; samples must not
        self.create_service(StopEpisode, topics.STOP_EPISODE, self._on_stop, **ends)
        for word in (*OUTCOMES, REDO):
            self.create_service(Trigger, topics.recorder(word), self._trigger(word), **ends)
        self.create_subscription(String, topics.TELEOP_EVENT, self._on_event, 10, **ends)
        self.wall_timer(TICK_S, self._tick)

    def _new_monitor(self) -> TopicMonitor:
        # In lock step the bench waits for commands: no rate is too low.
        timed = () if self._parameters.lock_step else self._topics.observed
        return TopicMonitor(
            self._topics.observed,
            timeout_s=self._parameters.silence_s,
            clock_s=time.monotonic,
            expected_hz=dict.fromkeys(timed, self._contract.control_rate_hz),
        )

    # --- lifecycle

    def configure(self) -> None:
        """Open the store in the writing process, and listen."""
        self._open_store()
        assert self._writer is not None
        self._session = Session(
            time.monotonic,
            reset_s=self._parameters.reset_s,
            wanted=self._parameters.episodes,
            committed=self._writer.committed if self._parameters.session else 0,
        )
        self._monitor = self._new_monitor()
        state = state_qos(lock_step=self._parameters.lock_step, depth=DEPTH)
        command = state_qos(lock_step=True, depth=DEPTH)
        for topic in self._topics.all:
            qos = state if topic in self._topics.observed else command
            subscription = self.create_subscription(
                self._readers[topic].kind, topic, self._receive(topic), qos, raw=True
            )
            self._entities.append(partial(self.destroy_subscription, subscription))

    def activate(self) -> None:
        """Be ready for episodes."""
        self._session.activate()
        self._say_ready()

    def deactivate(self) -> None:
        """Refuse episodes; one that is being recorded is dropped."""
        if self._session.state is State.RECORDING and self._writer is not None:
            self.get_logger().warning("deactivated in mid-episode; that episode is not recorded")
            self._writer.discard()
        self._collecting = False
        self._session.deactivate()
        self._tell("inactive")

    def cleanup(self) -> None:
        """Stop listening and close the store."""
        for destroy in self._entities:
            destroy()
        self._entities.clear()
        self._latest.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_store(self) -> None:
        self._writer = EpisodeWriter(
            WorkerSettings(
                store=self._parameters.store,
                contract=self._contract,
                topics=self._topics,
                session=self._parameters.session,
                raw=self._parameters.raw_bag,
            ),
            capacity_bytes=self._parameters.buffer_mb * 1_000_000,
            complain=self.get_logger().error,
        )
        if self._writer.recovered:
            self.get_logger().warning(f"removed from the store: {self._writer.recovered}")

    def run(self) -> int:
        """Serve until stopped, or until the session has its episodes."""
        self.runtime.spin_until(lambda: self._session.state is State.COMPLETE)
        self.get_logger().info(f"session complete: {self._session.committed} episodes")
        return 0

    # --- samples

    def _receive(self, topic: str) -> Callable[[bytes], None]:
        observed = topic in self._topics.observed

        def callback(raw: bytes) -> None:
            stamp_ns = raw_stamp_ns(raw)
            if observed:
                self._monitor.heard(topic, stamp_ns)
                self._latest[topic] = (stamp_ns, raw)
            self._keep(topic, stamp_ns, raw)

        return callback

    def _keep(self, topic: str, stamp_ns: int, raw: bytes) -> None:
        if not self._collecting or stamp_ns < self._not_before_ns:
            return
        if stamp_ns <= self._newest_ns.get(topic, -1):
            return
        assert self._writer is not None
        if self._episode_bytes > self._parameters.episode_mb * 1_000_000:
            self._flags.add(EPISODE_FULL)
        elif self._writer.offer(topic, stamp_ns, raw):
            self._newest_ns[topic] = stamp_ns
            self._episode_bytes += len(raw)
            return
        else:
            self._flags.add(BUFFER_FULL)
        if topic in self._topics.observed:
            self._monitor.dropped(topic)

    # --- what operators ask for

    def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        response.message = self._start(completed(request, self._parameters))
        response.success = not response.message
        return response

    def _start(self, request: StartEpisode.Request) -> str:
        """Begin an episode; return why not, or ""."""
        try:
            complaint = self._complaint()
            if complaint:
                raise NodeError(complaint)
            metadata(request, "success", self._parameters, self._contract)  # refuse it now
            self._session.start()
        except (ValueError, SessionError, NodeError, OSError) as error:
            self._diagnostics.error(f"did not start: {error}")
            self._tell(str(error))
            return str(error)
        assert self._writer is not None
        self._request = request
        self._not_before_ns = wire.stamp_ns(request.not_before)
        self._newest_ns.clear()
        self._flags.clear()
        self._episode_bytes = 0
        self._collecting = True
        self._writer.begin()
        # The first observation of a scene that was just reset came before this request.
        for topic, (stamp_ns, raw) in self._latest.items():
            self._keep(topic, stamp_ns, raw)
        self._diagnostics.ok("recording", task=request.task)
        self._tell("recording", cue="recording")
        return ""

    def _complaint(self) -> str:
        """Return why no episode can be recorded now, or ""."""
        if self._writer is None or self._session.state is State.INACTIVE:
            return "the recorder is not active. Activate it: `ros2 lifecycle set recorder activate`"
        complaint = self._monitor.complaint()
        if complaint:
            return complaint
        free_mb = self._writer.free_mb()
        if free_mb < self._parameters.minimum_free_mb:
            return (
                f"only {free_mb:.0f} MB free at {self._parameters.store}, parameter "
                f"minimum_free_mb asks for {self._parameters.minimum_free_mb}. Free disk space."
            )
        for topic, (_, raw) in self._latest.items():
            try:
                self._readers[topic].read(raw)
            except ValueError as error:
                return f"{topic}: {error}"
        if not self._writer.alive:
            self._writer.close()
            self._open_store()
        return ""

    async def _on_stop(
        self, request: StopEpisode.Request, response: StopEpisode.Response
    ) -> StopEpisode.Response:
        response.episode = -1
        try:
            written = await self._stop(request.outcome, wire.stamp_ns(request.last_step))
        except (SessionError, ValueError, OSError) as error:
            response.message = str(error)
            return response
        response.success = True
        if written is not None:
            response.episode, response.steps = written.index, written.steps
            response.flags = list(written.flags)
        return response

    def _trigger(self, word: str) -> Callable[..., Any]:
        async def callback(
            request: Trigger.Request, response: Trigger.Response
        ) -> Trigger.Response:
            try:
                written = await self._stop(word, 0)
            except (SessionError, ValueError, OSError) as error:
                response.message = str(error)
                return response
            response.success = True
            if written is not None:
                response.message = f"episode {written.index}, {written.steps} steps"
            return response

        return callback

    async def _on_event(self, message: String) -> None:
        """Serve an operator's key; other events are for other nodes."""
        if message.data == "start":
            self._start(completed(StartEpisode.Request(), self._parameters))
        elif message.data in (*OUTCOMES, REDO):
            try:
                await self._stop(message.data, 0)
            except (SessionError, ValueError, OSError) as error:
                self._diagnostics.error(f"{message.data}: {error}")

    async def _stop(self, outcome: str, last_ns: int) -> Written | None:
        """End the episode; return what was written, None where it was thrown away.

        Raises:
            SessionError: if none is being recorded, or the outcome is unknown.
            ValueError, OSError: if it could not be built or written.
        """
        if outcome not in (*OUTCOMES, REDO):
            raise SessionError(f"outcome must be one of {OUTCOMES}, got {outcome!r}")
        self._session.finish()
        assert self._writer is not None
        if outcome in (StopEpisode.Request.DISCARD, REDO):
            self._collecting = False
            self._writer.discard()
            self._session.discard(again=outcome == REDO)
            self._rest("discarded")
            if self._session.again and self._session.state is State.IDLE:
                self._start(self._request)
            return None
        request = self._request
        await until(lambda: self._arrived(last_ns), LAST_SAMPLES_S)
        self._collecting = False
        told = metadata(
            request, outcome, self._parameters, self._contract, flags=sorted(self._flags)
        )
        writing = self._writer.finish(told, last_ns=last_ns)
        await until(writing.done)
        return self._written(writing, success=outcome == StopEpisode.Request.SUCCESS)

    def _written(self, writing: Future[Written], *, success: bool) -> Written:
        try:
            written = writing.result()
        except (ValueError, OSError) as error:
            self._session.fail()
            self._diagnostics.error(f"episode not recorded: {error}")
            self._tell(f"episode not recorded: {error}", cue="not recorded")
            raise
        self._session.commit(success=success)
        if written.warning:
            self.get_logger().warning(f"episode {written.index}: {written.warning}")
        self._rest("success" if success else "failure", written.warning)
        return written

    def _rest(self, word: str, warning: str = "") -> None:
        """Say what comes after an episode; the cue names no more than that it was flagged."""
        states = {State.COMPLETE: "session complete", State.RESETTING: f"{word}, reset the scene"}
        words = states.get(self._session.state, word)
        self._tell(
            f"{words}; {warning}" if warning else words,
            cue=f"{words}, flagged" if warning else words,
        )
        self._say_ready()

    def _arrived(self, last_ns: int) -> bool:
        """Whether every stream has reached the last step (0: no need to wait)."""
        return all(self._newest_ns.get(topic, -1) >= last_ns for topic in self._topics.all)

    # --- what is told

    def _tick(self) -> None:
        if self._session.tick():
            self._tell("ready", cue="ready")
            if self._session.again:
                self._start(self._request)
        if time.monotonic() - self._told_s >= STATE_PERIOD_S:
            self._tell(self._message)

    def _tell(self, message: str, *, cue: str = "") -> None:
        self._message, self._told_s = message, time.monotonic()
        if cue:
            self._cue.say(cue)
        self._state_out.publish(
            state_message(
                self._session,
                self._monitor.meters(),
                stamp=self.get_clock().now().to_msg(),
                task=self._request.task,
                session_name=self._parameters.session,
                message=message,
                buffer_used=0.0 if self._writer is None else self._writer.buffer_used,
                free_mb=0.0 if self._writer is None else self._writer.free_mb(),
            )
        )

    def _say_ready(self) -> None:
        if self._writer is not None:
            store = self._parameters.store
            self._diagnostics.ok("ready", episodes=self._writer.episodes, store=store)

    def close(self) -> None:
        """Let the write that has begun finish; an unfinished episode is dropped."""
        if self._session.state is State.RECORDING:
            self.get_logger().warning("stopped in mid-episode; that episode is not recorded")
        self.cleanup()


def run() -> None:
    """Run the node."""
    main(Recorder)


if __name__ == "__main__":
    run()
