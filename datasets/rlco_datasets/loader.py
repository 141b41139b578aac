"""Action-chunk samples for training: one source per store, and their weighted mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlco_datasets.contract import require_same_contract
from rlco_datasets.store import EpisodeStore
from rlco_datasets.store_folder import ACTION, CAMERA, STATE


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples: what was seen at a step, and the chunk of actions from that step on."""

    images: dict[str, NDArray[np.uint8]]
    """Camera name -> `(B, H, W, 3)` uint8 RGB."""
    state: NDArray[np.float32]
    """`(B, S)`, as the contract's `state_layout`."""
    actions: NDArray[np.float32]
    """`(B, horizon, 7)`; past the episode's end: zero deltas and the last gripper opening."""
    mask: NDArray[np.bool_]
    """`(B, horizon)`, False past the episode's end."""
    instructions: list[str]
    step_in_episode: NDArray[np.int64]
    """`(B,)`, 0 at the first step."""

    def __len__(self) -> int:
        return len(self.actions)


class ChunkSource:
    """The steps of one store's episodes as samples; row r is step r of those episodes joined."""

    def __init__(
        self,
        store: EpisodeStore,
        *,
        cache: Literal["memory", "disk"] = "memory",
        horizon: int | None = None,
        episodes: Sequence[int] | None = None,
    ) -> None:
        """Read states and actions; with `cache="memory"`, the images too, as uint8.

        `horizon` is the contract's and `episodes` are all, unless given. Episodes appended later
        are not seen.

        Raises:
            ValueError: if an argument is impossible.
            IndexError: if the store has no such episode.
        """
        if cache not in ("memory", "disk"):
            raise ValueError(f"cache must be 'memory' or 'disk', got {cache!r}")
        horizon = store.contract.horizon if horizon is None else horizon
        if horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {horizon}")
        self.store = store
        self.contract = store.contract
        self.horizon = horizon
        chosen = np.arange(len(store)) if episodes is None else np.asarray(episodes, np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(store):
            raise IndexError(f"episodes {chosen.tolist()} of {store.path}, which has {len(store)}")
        self.episodes = tuple(chosen.tolist())
        lengths = store.lengths[chosen]
        self._ends = np.repeat(np.cumsum(lengths), lengths)
        self._starts = self._ends - np.repeat(lengths, lengths)
        self._episodes = np.repeat(np.arange(len(chosen)), lengths)
        self._instructions = [store.metadata(i).instruction for i in self.episodes]
        firsts = np.repeat(store.ends[chosen] - lengths, lengths)
        self._rows = firsts + np.arange(len(self._ends)) - self._starts
        rows = slice(None) if episodes is None else self._rows
        self._state = store.steps(STATE, rows)
        self._actions = store.steps(ACTION, rows)
        self._images: dict[str, NDArray[np.uint8]] | None = None
        if cache == "memory":
            names = self.contract.camera_names
            self._images = {name: store.steps(CAMERA + name, rows) for name in names}

    def __len__(self) -> int:
        return len(self._ends)

    def batch(self, rows: ArrayLike) -> Batch:
        """Return the samples of `rows` `(B,)`, in that order.

        Raises:
            IndexError: if a row is not in [0, len(self)).
        """
        rows = np.asarray(rows, np.int64).reshape(-1)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows must be in [0, {len(self)}), got {rows.min()} to {rows.max()}")
        wanted = rows[:, None] + np.arange(self.horizon)
        last = self._ends[rows][:, None] - 1
        mask = wanted <= last
        actions = self._actions[np.minimum(wanted, last)]
        actions[..., :6] *= mask[..., None]
        return Batch(
            images=self._images_of(rows),
            state=self._state[rows],
            actions=actions,
            mask=mask,
            instructions=[self._instructions[i] for i in self._episodes[rows]],
            step_in_episode=rows - self._starts[rows],
        )

    def _images_of(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.uint8]]:
        if self._images is not None:
            return {name: np.take(frames, rows, axis=0) for name, frames in self._images.items()}
        names = self.contract.camera_names
        return {name: self.store.steps(CAMERA + name, self._rows[rows]) for name in names}


class Mixture:
    """Samples drawn from several sources: the source by its weight, the step uniformly."""

    def __init__(self, sources: Mapping[str, tuple[ChunkSource, float]], seed: int) -> None:
        """Mix `sources`, label -> (source, weight); weights are relative and at least 0.

        Raises:
            ValueError: if the weights or horizons do not fit, or a source is empty.
            ContractMismatchError: if two sources differ in contract.
        """
        weights = np.array([weight for _, weight in sources.values()], float)
        if not len(weights) or not np.isfinite(weights).all() or weights.min() < 0:
            raise ValueError(f"weights must be finite and at least 0, got {weights.tolist()}")
        if weights.sum() == 0:
            raise ValueError("every weight is 0; give at least one source a positive weight")
        first = next(source for source, _ in sources.values())
        for label, (source, weight) in sources.items():
            where = f"source {label!r} ({source.store.path})"
            require_same_contract(first.contract, source.contract, where=where)
            if source.horizon != first.horizon:
                raise ValueError(f"{where}: horizon {source.horizon}, others have {first.horizon}")
            if weight > 0 and not len(source):
                raise ValueError(f"{where} is empty; record episodes or set its weight to 0")
        self._sources = {label: source for label, (source, _) in sources.items()}
        self._probabilities = weights / weights.sum()
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def next(self, batch_size: int) -> tuple[Batch, dict[str, int]]:
        """Draw the next batch; return it and how many samples came from each source."""
        drawn = self.draw(batch_size)
        counts = {label: len(places) for label, (places, _) in drawn.items()}
        parts = [
            (places, self._sources[label].batch(rows))
            for label, (places, rows) in drawn.items()
            if places.size
        ]
        return _interleave(parts, batch_size), counts

    def draw(self, batch_size: int) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Draw the next batch's rows alone: of each source, their places in the batch and the rows.

        For who keeps what it needs of the sources; `next` draws the same.
        """
        chosen = self._rng.choice(len(self._sources), size=batch_size, p=self._probabilities)
        fractions = self._rng.random(batch_size)
        drawn = {}
        for index, (label, source) in enumerate(self._sources.items()):
            places = np.flatnonzero(chosen == index)
            drawn[label] = places, (fractions[places] * len(source)).astype(np.int64)
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on bit-exactly; plain JSON values."""
        return {"sources": self._description(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: if it was taken of a mixture of other sources, sizes or weights.
        """
        if state["sources"] != self._description():
            raise ValueError(
                f"the mixture was saved over {state['sources']} and is now {self._description()}; "
                "resume with the same stores and weights, or start a new run"
            )
        self._rng.bit_generator.state = dict(state["rng"])

    def _description(self) -> dict[str, dict[str, float]]:
        pairs = zip(self._sources.items(), self._probabilities.tolist(), strict=True)
        return {label: {"steps": len(source), "share": share} for (label, source), share in pairs}


def _interleave(parts: list[tuple[NDArray[np.int64], Batch]], size: int) -> Batch:
    if len(parts) == 1:
        return parts[0][1]

    def join(pick: Any) -> NDArray[Any]:
        first = pick(parts[0][1])
        joined = np.empty((size, *first.shape[1:]), first.dtype)
        for places, part in parts:
            joined[places] = pick(part)
        return joined

    instructions = [""] * size
    for places, part in parts:
        for place, instruction in zip(places.tolist(), part.instructions, strict=True):
            instructions[place] = instruction
    return Batch(
        images={name: join(lambda part, n=name: part.images[n]) for name in parts[0][1].images},
        state=join(lambda part: part.state),
        actions=join(lambda part: part.actions),
        mask=join(lambda part: part.mask),
        instructions=instructions,
        step_in_episode=join(lambda part: part.step_in_episode),
    )
