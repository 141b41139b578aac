"""Several seeds at once: each in a thread that waits for its commands, which are processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from rlco_trainer.studies.steps import Children, StepFailedError

T = TypeVar("T")
INTERRUPTIBLE_S = 0.5
"""An endless wait misses a signal that comes just before it begins."""


def at_once(
    work: Callable[[int], T], numbers: Sequence[int], jobs: int, children: Children
) -> list[T]:
    """Return `work(number)` for every number, `jobs` of them at a time.

    One that fails does not stop the others. An interruption ends all `children`, and with them the
    threads that wait for them.

    Raises:
        StepFailedError: naming every number that failed, and why.
    """
    if jobs == 1:
        return [work(number) for number in numbers]
    with ThreadPoolExecutor(jobs) as pool:
        try:
            futures = [pool.submit(work, number) for number in numbers]
            while wait(futures, timeout=INTERRUPTIBLE_S).not_done:
                continue
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise
    failures = {
        number: error
        for number, future in zip(numbers, futures, strict=True)
        if (error := future.exception()) is not None
    }
    if failures:
        for error in failures.values():
            if not isinstance(error, StepFailedError):
                raise error
        told = "; ".join(f"seed {number}: {error}" for number, error in failures.items())
        raise StepFailedError(told)
    return [future.result() for future in futures]


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, so that running commands are ended and not orphaned."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
