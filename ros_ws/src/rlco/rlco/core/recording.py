"""One episode while it is recorded: which topic is what, and how much of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlco_datasets.contract import Contract

from rlco.core.episode_builder import Streams
from rlco.core.resample import MAX_AGE_PERIODS
from rlco.core.streams import Stream

WINDOW_NS = 2_000_000_000
"""Images are kept this long while a stream has not begun: the episode starts where all have."""


@dataclass(frozen=True, kw_only=True)
class RecordedTopics:
    """The topics of an episode; those that are "" are not recorded."""

    images: Mapping[str, str]
    """Camera -> its topic of images."""
    pose: str
    width: str
    target: str
    width_target: str
    label: str = ""
    raw_target: str = ""
    raw_width: str = ""

    @property
    def observed(self) -> tuple[str, ...]:
        """The topics that are heard whether or not anyone commands."""
        return (self.pose, self.width, *self.images.values())

    @property
    def poses(self) -> tuple[str, ...]:
        """The topics of PoseStamped messages."""
        named = (self.pose, self.target, self.label, self.raw_target)
        return tuple(topic for topic in named if topic)

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic, in an order that stays."""
        named = (self.target, self.width_target, self.label, self.raw_target, self.raw_width)
        return (*self.observed, *(topic for topic in named if topic))

    def streams(self) -> Streams:
        """Return new, empty streams."""

        def optional(topic: str) -> Stream | None:
            return Stream(topic) if topic else None

        return Streams(
            images={name: Stream(topic) for name, topic in self.images.items()},
            pose=Stream(self.pose),
            width=Stream(self.width),
            target=Stream(self.target),
            width_target=Stream(self.width_target),
            label=optional(self.label),
            raw_target=optional(self.raw_target),
            raw_width=optional(self.raw_width),
        )


class Recording:
    """The streams of one episode, at their native rates.

    Of the images only those are kept that the contract's rate needs, so that an episode takes the
    memory of its steps whatever the cameras' rate.
    """

    def __init__(self, topics: RecordedTopics, contract: Contract) -> None:
        """Begin an episode."""
        self.streams = topics.streams()
        self._by_topic = {stream.name: stream for stream in self.streams.all}
        self._period_ns = contract.period_ns
        self._begun = False

    def push(self, topic: str, stamp_ns: int, value: Any) -> bool:
        """Take in a sample; return False if it was a repetition or out of order."""
        stream = self._by_topic[topic]
        taken = stream.push(stamp_ns, value)
        if taken and not self._begun:
            self._look(stream, stamp_ns)
        return taken

    def needs(self, topic: str, stamp_ns: int, end_ns: int) -> bool:
        """Tell whether a sample would be kept that the next one, at `end_ns`, replaces."""
        return self._by_topic[topic].needs(stamp_ns, end_ns)

    def _look(self, stream: Stream, stamp_ns: int) -> None:
        start_ns = self.streams.start_ns
        images = self.streams.images.values()
        if start_ns is not None:
            self._begun = True
            for image_stream in images:
                image_stream.thin(start_ns, self._period_ns)
        elif any(stream is item for item in images):
            stream.forget(stamp_ns - WINDOW_NS - MAX_AGE_PERIODS * self._period_ns)
