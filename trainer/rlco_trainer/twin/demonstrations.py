"""Demonstrations in the twin: successful, noisy episodes with clean labels.

They come from the scripted expert, or from demonstrations moved to new starts (`sources`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import Twin
from rlco_datasets.contract import Contract

from rlco_trainer.twin.expert import Expert, ExpertAction, ExpertNoise, ExpertScene
from rlco_trainer.twin.retarget import Retargeted
from rlco_trainer.twin.scene import Observation, TwinScene
from rlco_trainer.twin.sources import Source

if TYPE_CHECKING:
    from rlco_datasets.episode import Episode

MAX_STEPS = 80
MAX_ATTEMPTS = 20
DEFAULT_NOISE = ExpertNoise()


class DemonstrationError(RuntimeError):
    """Whoever demonstrates cannot solve the task in this twin."""


class Demonstrator(Protocol):
    """Acts through one episode."""

    def act(self, scene: ExpertScene) -> ExpertAction:
        """Return the action for the next control period."""


def generate(
    twin: Twin,
    contract: Contract,
    task: str,
    episodes: int,
    seed: int,
    *,
    noise: ExpertNoise = DEFAULT_NOISE,
    sources: Sequence[Source] = (),
) -> Iterator[Episode]:
    """Yield `episodes` successful episodes with images at every control step.

    Episode `i` depends on the twin, the contract, the task, the sources, `seed` and `i` alone, so
    any split over processes gives the same episodes (`parallel_demonstrations`).

    Raises:
        DemonstrationError: if an episode fails `MAX_ATTEMPTS` times over.
    """
    scene = TwinScene(twin, contract, task, images="policy", seed=seed)
    for index in range(episodes):
        yield demonstrate(scene, seed, index, noise, sources)


def demonstrate(
    scene: TwinScene,
    seed: int,
    index: int,
    noise: ExpertNoise = DEFAULT_NOISE,
    sources: Sequence[Source] = (),
    lineage: Mapping[str, str] = MappingProxyType({}),
) -> Episode:
    """Return the successful episode number `index` of a seed.

    With `sources`, one drawn at random is followed; without, the scripted expert acts. `actions`
    are the noise-free intentions; what was executed is in `extras["executed_action"]`. A failed
    attempt is thrown away and another start drawn; `metadata.extra` counts the attempts, names the
    source and holds `lineage`.

    Raises:
        DemonstrationError: if `MAX_ATTEMPTS` starts failed.
    """
    task = scene.task.name
    for attempt in range(MAX_ATTEMPTS):
        rng = np.random.default_rng([seed, index, attempt])
        initial = sample(scene.twin, task, rng, f"demonstration-{seed}-{index}")
        scene.reset(initial)
        about = {**lineage, "generator": "expert", "attempts": str(attempt + 1)}
        actor: Demonstrator
        if sources:
            source = sources[int(rng.integers(len(sources)))]
            about |= {"generator": "segments", "source_demonstration": source.label}
            actor = Retargeted(source, rng, noise)
        else:
            actor = Expert(task, rng, noise)
        seen: list[Observation] = []
        clean: list[NDArray[np.float32]] = []
        executed: list[NDArray[np.float32]] = []
        while len(seen) < MAX_STEPS and not scene.status().success:
            seen.append(scene.observe())
            action = actor.act(scene)
            clean.append(action.clean)
            executed.append(action.executed)
            scene.step(action.executed)
        if scene.status().success:
            return _episode(scene, seed, seen, np.stack(clean), np.stack(executed), about)
    raise DemonstrationError(
        f"twin {scene.twin.name!r}, task {task!r}: the {about['generator']} failed from "
        f"{MAX_ATTEMPTS} starts in a row (episode {index} of seed {seed}). Lower the noise, or "
        "check the twin's start states, workspace and friction."
    )


def _episode(
    scene: TwinScene,
    seed: int,
    seen: Sequence[Observation],
    clean: NDArray[np.float32],
    executed: NDArray[np.float32],
    about: dict[str, str],
) -> Episode:
    from rlco_datasets.episode import Episode, EpisodeMetadata

    assert scene.initial is not None
    names = scene.contract.camera_names
    stamps = np.arange(len(seen), dtype=np.int64) * scene.contract.period_ns
    metadata = EpisodeMetadata(
        source="sim",
        task=scene.task.name,
        instruction=scene.initial_states.instruction,
        operator=about["generator"],
        outcome="success",
        contract_id=scene.contract.id,
        twin_id=scene.twin.id,
        seed=seed,
        software_version=version("rlco-trainer"),
        created_utc=datetime.now(UTC).isoformat(),
        initial_condition=scene.initial,
        extra=about,
    )
    return Episode(
        metadata=metadata,
        images={name: np.stack([item.images[name] for item in seen]) for name in names},
        state=np.stack([item.state for item in seen]),
        actions=clean,
        stamps_ns={stream: stamps for stream in ("step", "state", *(f"camera/{n}" for n in names))},
        extras={"executed_action": executed},
    )
