"""Recorded frames and what was done next; and ways in which a pipeline may garble them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import STATE_FIELDS, Contract
from rlco_datasets.store import EpisodeStore

CHUNK = "extra_chunk"
"""The array of a store made by record mode: the chunk that was sent at each step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One observation of a store, and the `(K, 7)` actions recorded from there, K <= horizon."""

    row: int
    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    instruction: str
    actions: NDArray[np.float32]
    chunk: NDArray[np.float32] | None = None
    """The chunk that a server sent, in a store made by record mode."""


def sample(store: EpisodeStore, count: int) -> list[Frame]:
    """Return `count` frames spread evenly over the store, with at least two actions after each."""
    contract = store.contract
    candidates = np.concatenate(
        [
            np.arange(store.rows(episode).start, max(store.rows(episode).stop - 1, 0))
            for episode in range(len(store))
        ]
        or [np.empty(0, np.int64)]
    ).astype(np.int64)
    chosen = candidates[np.unique(np.linspace(0, len(candidates) - 1, count).round().astype(int))]
    ends, found = store.ends, []
    for row in chosen.tolist():
        episode = int(np.searchsorted(ends, row, side="right"))
        stop = min(row + contract.horizon, int(ends[episode]))
        recorded = CHUNK in store.keys
        found.append(
            Frame(
                row=row,
                images={
                    name: store.steps(f"camera_{name}", [row])[0] for name in contract.camera_names
                },
                state=store.steps("state", [row])[0],
                instruction=store.metadata(episode).instruction,
                actions=store.steps("action", slice(row, stop)),
                chunk=store.steps(CHUNK, [row])[0] if recorded else None,
            )
        )
    return found


Garbling = Callable[[Frame, Contract], Frame]


def _each_image(change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Garbling:
    def garbled(frame: Frame, contract: Contract) -> Frame:
        images = {name: np.ascontiguousarray(change(i)) for name, i in frame.images.items()}
        return replace(frame, images=images)

    return garbled


def _width_inverted(frame: Frame, contract: Contract) -> Frame:
    state, start = frame.state.copy(), 0
    for name in contract.state_layout:
        if name == "gripper_width":
            state[start] = contract.gripper_max_width_m - state[start]
        start += STATE_FIELDS[name]
    return replace(frame, state=state)


def _rotation_by_rows(frame: Frame, contract: Contract) -> Frame:
    """Lay out the rotation as its first two rows, where the contract means columns."""
    state, start = frame.state.copy(), 0
    for name in contract.state_layout:
        if name == "tcp_rotation_6d":
            first, second = state[start : start + 3], state[start + 3 : start + 6]
            matrix = np.stack([first, second, np.cross(first, second)], axis=1)
            state[start : start + 6] = matrix[:2].reshape(-1)
        start += STATE_FIELDS[name]
    return replace(frame, state=state)


GARBLINGS: dict[str, Garbling] = {
    "red and blue are swapped (BGR for RGB)": _each_image(lambda image: image[:, :, ::-1]),
    "images are upside down": _each_image(lambda image: image[::-1]),
    "images are mirrored": _each_image(lambda image: image[:, ::-1]),
    "images are turned by 180 degrees": _each_image(lambda image: image[::-1, ::-1]),
    "the gripper width is inverted (closed for open)": _width_inverted,
    "the rotation is sent by rows, not columns": _rotation_by_rows,
}
