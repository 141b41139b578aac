"""Looking over a store for what makes training fail quietly.

Each rule is a pure function of one episode that yields findings; `check_store` runs them all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rlco_datasets.contract import Contract
from rlco_datasets.episode import STEP_STREAM, Episode, EpisodeError, check_episode
from rlco_datasets.store import EpisodeStore, StoreError

GAP_PERIODS = 1.5
"""A step that takes longer than this many control periods is a gap."""
RATE_TOLERANCE = 0.05
"""How far the mean rate may be off the contract's, as a fraction."""
STALE_PERIODS = 2.0
"""A frame older than this many control periods at its step is stale."""
FROZEN_STEPS = 5
"""So many identical frames in a row are a frozen camera: sensor noise never repeats."""
SATURATED_SHARE = 0.3
"""More steps than this share at the contract's limit mean that the limit shaped the motion."""
SHORT_S = 1.0
"""An episode shorter than this is a mistake of the operator."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing wrong in one episode (None: in the whole store), and what to do about it."""

    severity: Literal["error", "warning"]
    rule: str
    what: str
    remedy: str
    episode: int | None = None

    def __str__(self) -> str:
        """Return it as one line."""
        where = "store" if self.episode is None else f"episode {self.episode}"
        return f"{self.severity:<7} {where}: {self.what}. {self.remedy}."


def check_store(path: str | os.PathLike[str]) -> list[Finding]:
    """Return everything suspicious in the store at `path`, in episode order.

    Raises:
        StoreError: if the folder cannot be opened as a store at all.
    """
    store = EpisodeStore.open(path)
    findings: list[Finding] = []

    if store.tail is not None:
        remedy = "Opening the store for append removes it; no committed episode is touched"
        findings.append(_warn("tail", f"{store.tail} follow the last episode", remedy))
    if not len(store):
        remedy = "Record some with `rlco-up collect`"
        findings.append(_warn("empty", "there are no episodes", remedy))
    seen: dict[bytes, int] = {}
    for index in range(len(store)):
        try:
            episode = store.episode(index)
        except StoreError as error:
            found = [_error("unreadable", str(error).rstrip("."), "Leave the episode out")]
        else:
            found = [*check_one(episode, store.contract), *_duplicate(episode, index, seen)]
        findings += [replace(finding, episode=index) for finding in found]
    return findings


def check_one(episode: Episode, contract: Contract) -> Iterator[Finding]:
    """Yield what is wrong with one episode."""
    try:
        check_episode(episode, contract)
    except EpisodeError as error:
        yield _error("contract", str(error).rstrip("."), "Convert or leave out the episode")
        return
    yield from _timing(episode, contract)
    yield from _images(episode, contract)
    yield from _actions(episode, contract)
    if episode.metadata.flags:
        flags = ", ".join(episode.metadata.flags)
        yield _warn("flags", f"the recorder flagged it: {flags}", "Read the recorder's log")


def _timing(episode: Episode, contract: Contract) -> Iterator[Finding]:
    period_ns = contract.period_ns
    duration_s = len(episode) * contract.period_s
    if duration_s < SHORT_S:
        what = f"it lasts {len(episode)} steps ({duration_s:.2g} s)"
        yield _warn("short", what, "Leave it out unless the task is that quick")
    steps = episode.stamps_ns[STEP_STREAM]
    periods = np.diff(steps) / period_ns
    gaps = np.flatnonzero(periods > GAP_PERIODS)
    if gaps.size:
        worst = int(gaps[np.argmax(periods[gaps])])
        yield _error(
            "gap",
            f"{gaps.size} gaps, the longest {periods[worst] * contract.period_s:.3g} s after step "
            f"{worst}, where the contract says {contract.period_s:.3g} s",
            "A node or the disk stalled: close other programs, check the network, record again",
        )
    elif periods.size and abs(periods.mean() - 1) > RATE_TOLERANCE:
        yield _error(
            "rate",
            f"it runs at {contract.control_rate_hz / periods.mean():.3g} Hz, the contract says "
            f"{contract.control_rate_hz:g} Hz",
            "Set control_rate_hz of the recorder and the contract to what the bench reaches",
        )
    for stream, stamps in episode.stamps_ns.items():
        late = np.abs(steps - stamps) / period_ns
        worst = int(np.argmax(late))
        if late[worst] > STALE_PERIODS:
            yield _warn(
                "stale",
                f"{stream} is {late[worst] * contract.period_s:.3g} s off its step {worst}",
                "Check that topic's rate, and that all hosts share one clock",
            )


def _images(episode: Episode, contract: Contract) -> Iterator[Finding]:
    for name, frames in episode.images.items():
        first, run = _longest_run((frames[1:] == frames[:-1]).all(axis=(1, 2, 3)))
        if run + 1 >= FROZEN_STEPS:
            yield _error(
                "frozen",
                f"camera {name} shows one frame from step {first} to {first + run}",
                "Check the camera's cable, power and topic rate, and record again",
            )
        if (frames.reshape(len(frames), -1).std(axis=1) < 1).all():
            yield _error(
                "blank",
                f"camera {name} shows a single colour",
                "Take off the lens cap, check exposure and the crop in the contract",
            )


def _actions(episode: Episode, contract: Contract) -> Iterator[Finding]:
    actions = episode.actions
    if len(actions) > 1 and (actions == actions[0]).all():
        yield _error(
            "constant",
            "every action is the same",
            "The teleoperation topic was silent: check the device, and leave the episode out",
        )
    gripper = actions[:, 6]
    if len(actions) > 1 and np.ptp(gripper) < 0.05:
        yield _warn(
            "gripper",
            f"the gripper stays at {gripper[0]:.2f}",
            "Right for pushing; for grasping, check the gripper's button and topic",
        )
    limits = (
        ("translation", np.linalg.norm(actions[:, :3], axis=1), contract.max_translation_m),
        ("rotation", np.linalg.norm(actions[:, 3:6], axis=1), contract.max_rotation_rad),
    )
    for what, size, limit in limits:
        share = float((size > 0.999 * limit).mean())
        if share > SATURATED_SHARE:
            yield _warn(
                "saturated",
                f"{what} is at its limit in {share:.0%} of the steps",
                "Move slower, or raise the limit in the contract",
            )


def _duplicate(episode: Episode, index: int, seen: dict[bytes, int]) -> Iterator[Finding]:
    content = hashlib.sha256(episode.state.tobytes() + episode.actions.tobytes()).digest()
    if content in seen:
        what = f"states and actions are those of episode {seen[content]}"
        yield _warn("duplicate", what, "Was it appended twice? Leave one out")
    seen.setdefault(content, index)


def _longest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (first index, length) of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if not lengths.size:
        return 0, 0
    longest = int(np.argmax(lengths))
    return int(starts[longest]), int(lengths[longest])


def _error(rule: str, what: str, remedy: str) -> Finding:
    return Finding(severity="error", rule=rule, what=what, remedy=remedy)


def _warn(rule: str, what: str, remedy: str) -> Finding:
    return Finding(severity="warning", rule=rule, what=what, remedy=remedy)
