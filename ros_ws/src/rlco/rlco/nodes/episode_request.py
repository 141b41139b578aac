"""From a request to record an episode to what is recorded and what the store says about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rlco_datasets.contract import Contract
from rlco_datasets.episode import EpisodeMetadata
from rlco_msgs.srv import StartEpisode

from rlco import __version__
from rlco.core.recording import RecordedTopics
from rlco.nodes import topics, wire
from rlco.nodes.recorder_worker import SESSION
from rlco.parameters import RecorderParameters


def completed(
    request: StartEpisode.Request, parameters: RecorderParameters
) -> StartEpisode.Request:
    """Return the request with what it leaves empty taken from the recorder's parameters."""
    for name in ("task", "instruction", "source", "operator_name"):
        if not getattr(request, name):
            setattr(request, name, getattr(parameters, name))
    return request


def metadata(
    request: StartEpisode.Request,
    outcome: Any,
    parameters: RecorderParameters,
    contract: Contract,
    *,
    flags: Sequence[str] = (),
) -> EpisodeMetadata:
    """Return the metadata of an episode that ends now.

    Raises:
        ValueError: naming what is empty or impossible.
    """
    condition = request.initial_condition if request.has_initial_condition else None
    return EpisodeMetadata(
        source=request.source,
        task=request.task,
        instruction=request.instruction,
        operator=request.operator_name,
        outcome=outcome,
        contract_id=contract.id,
        software_version=__version__,
        created_utc=datetime.now(UTC).isoformat(),
        seed=request.seed if request.has_seed else None,
        flags=tuple(flags),
        initial_condition=None if condition is None else wire.initial_condition(condition),
        extra={SESSION: parameters.session} if parameters.session else {},
    )


def recorded_topics(parameters: RecorderParameters, cameras: tuple[str, ...]) -> RecordedTopics:
    """Return which topics are recorded."""
    raw = parameters.raw_source
    return RecordedTopics(
        images={name: topics.image(name) for name in cameras},
        pose=topics.POSE,
        width=topics.FINGERS,
        target=topics.TARGET_POSE,
        width_target=topics.GRIPPER_TARGET,
        label=parameters.label_topic,
        raw_target=topics.source_pose(raw) if raw else "",
        raw_width=topics.source_gripper(raw) if raw else "",
    )
