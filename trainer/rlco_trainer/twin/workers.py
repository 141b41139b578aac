"""Workers that each own a batch of scenes: Ray actors, here or on a cluster, or this process.

SAPIEN's CPU physics and rendering use one core a process, so scenes are spread over processes; a
process that renders takes seconds to start and half a gigabyte, so workers are few and live long.
One worker alone needs no process of its own, and gives the same numbers without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from rlco_calibration.twin import Twin
from rlco_datasets.closing import Closing
from rlco_datasets.contract import Contract

if TYPE_CHECKING:
    from rlco_datasets.episode import Episode

    from rlco_trainer.twin.expert import ExpertNoise
    from rlco_trainer.twin.scene import ImageMode
    from rlco_trainer.twin.sources import Source

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 256 * 1024**2
EPISODES_PER_TASK = 4
START_ATTEMPTS = 5
START_TIMED_OUT = "timed out during startup"

logger = logging.getLogger(__name__)


class WorkerPool(Closing):
    """`workers` Ray actors, each with a `TwinBatch` of `scenes` scenes. Use it in a `with`.

    With no `address`, Ray runs on this machine only, bound to loopback, without a dashboard, and
    stops with the last pool that started it. With one, the pool joins that cluster, whose nodes
    need the same packages.
    """

    _started_here = 0

    def __init__(
        self,
        twin: Twin,
        contract: Contract,
        task: str,
        *,
        workers: int,
        scenes: int,
        images: ImageMode = "policy",
        seed: int = 0,
        address: str | None = None,
    ) -> None:
        """Start the workers and wait until each has built its batch.

        Raises:
            ValueError: if `workers` or `scenes` is not positive.
            Exception: whatever building the scenes raises, as in `TwinBatch`.
        """
        if min(workers, scenes) < 1:
            raise ValueError(f"workers and scenes must be positive, got {workers} and {scenes}")
        import ray

        self._ray = ray
        self._local = address is None and (not ray.is_initialized() or WorkerPool._started_here > 0)
        if not ray.is_initialized():
            _start_ray(ray, workers, address)
        if self._local:
            WorkerPool._started_here += 1
        actor = ray.remote(num_cpus=0 if self._local else 1)(_Worker)
        self._actors = [
            actor.remote(twin, contract, task, scenes, images, seed, number)
            for number in range(workers)
        ]
        try:
            ray.get([worker.scenes.remote() for worker in self._actors])
        except ray.exceptions.RayError as error:
            self.close()
            raise _cause(error) from error

    def __len__(self) -> int:
        """Return the number of workers."""
        return len(self._actors)

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run `function(batch, *arguments[i])` in worker i, at once, and return the answers.

        There may be fewer arguments than workers. What a function raises is raised here.

        Raises:
            ValueError: if there are more arguments than workers.
        """
        _require_enough(arguments, len(self._actors))
        return list(self.imap(function, arguments))

    def imap(
        self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        """Yield the answers in the order of `arguments`; free workers take the next argument."""
        running: dict[Any, int] = {}
        idle = list(range(len(self._actors)))
        ready: dict[int, Any] = {}
        waiting, due = 0, 0
        while due < len(arguments):
            while idle and waiting < len(arguments):
                worker = idle.pop(0)
                reference = self._actors[worker].call.remote(function, *arguments[waiting])
                running[reference] = worker
                ready[waiting] = reference
                waiting += 1
            self._ray.wait(list(running), num_returns=1)
            done, _ = self._ray.wait(list(running), num_returns=len(running), timeout=0)
            idle += [running.pop(reference) for reference in done]
            while due in ready and ready[due] not in running:
                try:
                    answer = self._ray.get(ready.pop(due))
                except self._ray.exceptions.RayError as error:
                    raise _cause(error) from error
                due += 1
                yield answer

    def close(self) -> None:
        """End the workers, and Ray if no other pool of this process uses it. May be repeated."""
        for worker in self._actors:
            self._ray.kill(worker)
        self._actors = []
        if self._local:
            self._local = False
            WorkerPool._started_here -= 1
            if WorkerPool._started_here == 0:
                self._ray.shutdown()


class InProcess(Closing):
    """A pool of one worker, in the calling process: starts at once, uses one core."""

    def __init__(
        self,
        twin: Twin,
        contract: Contract,
        task: str,
        *,
        scenes: int,
        images: ImageMode = "policy",
        seed: int = 0,
    ) -> None:
        """Build the batch; the arguments are those of `WorkerPool`."""
        self._worker = _Worker(twin, contract, task, scenes, images, seed, 0)

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run `function(batch, *arguments[0])`, as `WorkerPool.map`.

        Raises:
            ValueError: if there is more than one.
        """
        _require_enough(arguments, 1)
        return list(self.imap(function, arguments))

    def imap(
        self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        """Yield the answers one after the other."""
        for each in arguments:
            with _one_thread():
                answer = self._worker.call(function, *each)
            yield answer

    def close(self) -> None:
        """Do nothing: the scenes end with the pool."""


def open_pool(
    twin: Twin,
    contract: Contract,
    task: str,
    *,
    workers: int,
    scenes: int,
    seed: int = 0,
) -> WorkerPool | InProcess:
    """Return a pool of Ray actors, or for one worker a pool in this process.

    Raises:
        ValueError: if `workers` or `scenes` is not positive.
    """
    if workers == 1:
        return InProcess(twin, contract, task, scenes=scenes, seed=seed)
    return WorkerPool(twin, contract, task, workers=workers, scenes=scenes, seed=seed)


def _require_enough(arguments: Sequence[tuple[Any, ...]], workers: int) -> None:
    if len(arguments) > workers:
        raise ValueError(
            f"{len(arguments)} arguments for {workers} workers; deal the work out, or use imap"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute as in a worker process, whose sums are those of one thread."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Worker:
    """A batch of scenes for as long as it lives, in a process or a block of one thread."""

    def __init__(
        self,
        twin: Twin,
        contract: Contract,
        task: str,
        scenes: int,
        images: ImageMode,
        seed: int,
        number: int,
    ) -> None:
        """Build the batch."""
        os.environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe: draw in the calling thread
        from rlco_trainer.twin.batch import TwinBatch

        self._batch = TwinBatch(
            twin, contract, task, scenes, images=images, seed=seed, number=number
        )

    def scenes(self) -> int:
        """Return the number of scenes, once they are built."""
        return len(self._batch)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function on the batch."""
        import torch

        torch.set_num_threads(1)
        return function(self._batch, *arguments)


def parallel_demonstrations(
    twin: Twin,
    contract: Contract,
    task: str,
    episodes: int,
    seed: int,
    *,
    workers: int,
    noise: ExpertNoise | None = None,
    sources: Sequence[Source] = (),
    randomise: bool = False,
) -> Iterator[Episode]:
    """Yield the very episodes of `demonstrations.generate`, made in `workers` processes.

    With `randomise`, every few episodes are made in another bench, drawn within the twin's
    uncertainties; `metadata.extra["drawn_from"]` names the twin.
    """
    indices = [
        range(start, min(start + EPISODES_PER_TASK, episodes))
        for start in range(0, episodes, EPISODES_PER_TASK)
    ]
    with open_pool(twin, contract, task, workers=workers, scenes=1, seed=seed) as pool:
        work = [(seed, part, noise, tuple(sources), randomise) for part in indices]
        for made in pool.imap(_demonstrate, work):
            yield from made


def _demonstrate(
    batch: Any,
    seed: int,
    indices: Sequence[int],
    noise: ExpertNoise | None,
    sources: Sequence[Source],
    randomised: bool,
) -> list[Episode]:
    from rlco_trainer.twin import demonstrations, randomise
    from rlco_trainer.twin.scene import TwinScene

    chosen = demonstrations.DEFAULT_NOISE if noise is None else noise
    scene = batch.scenes[0]
    lineage = {}
    if randomised:
        bench = randomise.drawn(batch.twin, np.random.default_rng([seed, indices[0], 0xBE4C]))
        scene = TwinScene(bench, batch.contract, batch.task, seed=seed)
        lineage = {"drawn_from": batch.twin.id}
    return [demonstrations.demonstrate(scene, seed, i, chosen, sources, lineage) for i in indices]


def _start_ray(ray: Any, workers: int, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # they are the work, not its background
    if address is not None:
        ray.init(address=address, logging_level=logging.ERROR)
        return
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                _node_ip_address=LOOPBACK,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except Exception as error:  # Ray's own gives up after 30 s, and has no class of its own
            ray.shutdown()
            if START_TIMED_OUT not in str(error) or attempt == START_ATTEMPTS:
                raise
            logger.warning("Ray did not start in time on this busy machine; starting it again")
        else:
            return


def _cause(error: BaseException) -> BaseException:
    """Return what a worker raised, without Ray's wrapping, where there is one."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error
