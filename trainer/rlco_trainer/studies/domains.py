"""ROS domains for simulated labs: each run has one that no other run of this machine uses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from rlco_trainer.studies.steps import StepFailedError

DOMAINS = range(20, 100)
"""Of them a run takes the first free one; below are those of graphs started by hand."""


@contextmanager
def own_domain() -> Iterator[str]:
    """Yield a ROS domain as an argument of a graph; it is this block's until the block ends.

    Who holds a domain listens at a name of the machine's network (an abstract Unix socket, which
    ends with its process), as DDS on loopback reaches as far as that.

    Raises:
        StepFailedError: if every domain is taken.
    """
    with socket.socket(socket.AF_UNIX) as held:
        for number in DOMAINS:
            try:
                held.bind(f"\0rlco/ros-domain/{number}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                yield f"domain:={number}"
                return
    raise StepFailedError(
        f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are taken by other runs; end one"
    )
