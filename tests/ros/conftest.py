"""ROS tests: every test speaks in a DDS domain of its own, on this machine only."""

import itertools
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

FAKES = Path(__file__).parents[1] / "fakes"
sys.path.insert(0, str(FAKES))

settings.register_profile("busy", deadline=None)  # a busy machine is no failure
settings.load_profile("busy")
_DOMAINS = itertools.count(os.getpid())


@pytest.fixture(scope="session")
def ros():
    """The environment that rlco's nodes run in, for this process and its children."""
    pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
    from rlco.bringup import environment

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        path = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])
        patch.setenv("PYTHONPATH", path)
        yield


@pytest.fixture(scope="module")
def domain(ros):
    """A ROS_DOMAIN_ID of this module's own, for it and its child processes."""
    number = 2 + next(_DOMAINS) % 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(number))
        yield number
